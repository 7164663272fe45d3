"""From arguments to a config: the two-step parse of run.py.

Step one finds the selectors (`--model gan`) and the config file, and knows the choices from file names
alone, so that a wrong name fails before torch is imported. Step two turns the signatures of the chosen classes
(`--model.lr`) and of run.py's functions into options, with types and help from annotations and docstrings.
Parsing depends only on the arguments and the config file: every process of a run gets the same config.
"""
