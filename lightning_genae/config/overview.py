"""The text of `python run.py --help`: the verbs, the choices and the options of every run."""

from collections.abc import Callable, Container

from lightning_genae import registry
from lightning_genae.config.parser import new_parser

USAGE = """\
usage: python run.py [--OPTION VALUE ...]                          train and evaluate
       python run.py sample RUN [--OPTION VALUE ...]               images of a run
       python run.py evaluate RUN [--metrics.OPTION VALUE ...]     its metrics again
       python run.py prefetch [--OPTION VALUE ...]                 what a run needs, for nodes offline
       python run.py ablate [--OPTION VALUE,VALUE ...]             a grid of runs and its report
       python run.py compare FOLDER ... [--OPTION VALUE ...]       runs side by side
       python run.py cache [--prune]                               what runs share, and its removal
       python run.py --model gan --augment ae --help               options of the chosen parts
       --config FILE takes options from a file, --print_config shows what would be run
"""


def overview(
    selectors: dict[str, str], defaults: dict[str, str], composed: Container[str], run_options: Callable
) -> str:
    """The text; the arguments are those of `CommandLine`."""
    lines = [USAGE]
    for name, package in selectors.items():
        lines.append(f"--{name} (default: {defaults[name]})")
        lines += [f"  {choice:14} {registry.summary(package, choice)}" for choice in registry.names(package)]
        if name in composed:
            lines.append(f"  or several, one after the other, such as {'+'.join(registry.names(package)[1:3])}")
        lines.append("")
    parser = new_parser("")
    parser.add_function_arguments(run_options, as_group=True)
    options = parser.format_help().partition("\n\n")[2]
    return "\n".join([*lines, options])
