"""From arguments to a config: the two-step parse that run.py describes its options to.

Step one finds the selectors (`--model gan`) and the config file, and knows the choices from file names
alone, so that a wrong name fails before torch is imported. Step two makes options of the chosen classes'
signatures (`--model.lr`) and of run.py's own functions, with types and help from annotations and docstrings.
Parsing depends on nothing but the arguments and the config file: every process of a run gets the same config.
"""
