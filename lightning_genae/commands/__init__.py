"""The verbs, one per file, and what they share with training. Only this package imports callbacks and data modules.

Slow imports are inside the functions that need them, so that mistakes are reported before.
"""
