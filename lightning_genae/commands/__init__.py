"""The verbs, one a file, and what they share with a training; this package alone knows callbacks and data modules.

What takes seconds to import is imported by the functions that need it: a mistake is told before.
"""
