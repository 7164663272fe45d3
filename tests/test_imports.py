"""Who may import whom, see docs/architecture.md; what is imported is declared, and private names of others listed."""

import ast
import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# area: the areas whose files it may import, beside its own
ALLOWED = {
    "run": {"lightning_genae.commands", "lightning_genae"},
    "lightning_genae.commands": {"callbacks", "datamodules", "lightning_genae"},
    "callbacks": {"lightning_genae"},
    "lightning_genae": set(),
    "datamodules": {"lightning_genae"},
}
AREAS = sorted([*ALLOWED, "tests"], key=len, reverse=True)  # of a module the first one that fits
FOLDERS = ("lightning_genae", "callbacks", "datamodules")
FILES = [ROOT / "run.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
ROOMS = [path for path in FILES if path.name == "run.py" or path.parent.name in ("commands", "config")]
MAX_LINES = {"run.py": 200, "commands": 250, "config": 250}
OURS = {"datamodules", "callbacks", "lightning_genae", "run", "tests"}
EVERY = FILES
PACKAGES = {
    "PIL": "pillow",
    "lightning_fabric": "pytorch-lightning",  # which contains it
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}  # by what they import as
# private names of other packages: each may change in any release, so that the packages are bounded from above
PRIVATE = {
    ("lightning_genae/evaluation/metrics/_contract.py", "_version"): "torch",
    ("callbacks/count_memory.py", "_python_dispatch"): "torch",  # of TorchDispatchMode, which has no other home
    ("callbacks/finite.py", "_results"): "pytorch-lightning",
    ("callbacks/record.py", "_batches_that_stepped"): "pytorch-lightning",
    ("callbacks/record.py", "_broadcast_sigterm_tensor"): "pytorch-lightning",
    ("callbacks/record.py", "_results"): "pytorch-lightning",
    ("lightning_genae/deferred.py", "_AX_TYPE"): "torchmetrics",
    ("lightning_genae/deferred.py", "_PLOT_OUT_TYPE"): "torchmetrics",
    ("datamodules/_packs.py", "_mmap"): "numpy",
    ("lightning_genae/config/command_line.py", "_actions"): "jsonargparse",
    ("lightning_genae/config/command_line.py", "_typehint"): "jsonargparse",
    ("lightning_genae/config/messages.py", "_ActionConfigLoad"): "jsonargparse",
    ("lightning_genae/config/messages.py", "_actions"): "jsonargparse",
    ("lightning_genae/config/messages.py", "_expression"): "jsonargparse",
    ("lightning_genae/config/messages.py", "_type"): "jsonargparse",
    ("lightning_genae/config/messages.py", "_typehint"): "jsonargparse",
    ("lightning_genae/config/parser.py", "_actions"): "jsonargparse",
    ("lightning_genae/config/parser.py", "_typehint"): "jsonargparse",
    ("lightning_genae/evaluation/fidelity.py", "_LPIPS"): "torchmetrics",
    ("lightning_genae/ranks.py", "_get_default_store"): "torch",
    ("lightning_genae/received.py", "_expression"): "jsonargparse",
}
BY_NAME = ("getattr", "hasattr", "setattr", "delattr")
DOCUMENTED = {
    "_asdict",
    "_fields",
    "_make",
    "_replace",
    "_exit",
}  # of namedtuples and os; public in spite of their names


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return modules


def name_of(path: Path) -> str:
    """The module that a file is."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def area(module: str) -> str | None:
    """The area that a module belongs to; None of another project's."""
    return next((name for name in AREAS if f"{module}.".startswith(f"{name}.")), None)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_arrows(path):
    own = area(name_of(path))
    areas = {area(module) for module in imported(path)} - {None}
    assert areas <= ALLOWED[own] | {own}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_private_names_stay_in_their_package(path):
    """No module whose name begins with an underscore is imported from another package, nor such a name of a module."""
    package = name_of(path.parent) if path.name != "run.py" else "run"
    ours = {module for module in imported(path) if area(module)}
    private = {module for module in ours if "._" in module}
    assert not {module for module in private if not module.startswith(f"{package}._") or module.count("._") > 1}


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_files_and_functions_can_be_read(path):
    text = path.read_text()
    assert text.count("\n") < MAX_LINES.get(path.name, MAX_LINES.get(path.parent.name))
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if node.end_lineno - node.lineno >= 60]


# which import nothing else of ours
LEAVES = ("lightning_genae.registry", "lightning_genae.errors", "lightning_genae.estimates", "lightning_genae.threads")


def imported_of_ours(path: Path) -> set[str]:
    return {module for module in imported(path) if module.startswith("lightning_genae.")}


@pytest.mark.parametrize("path", sorted((ROOT / "datamodules").glob("*.py")), ids=lambda path: path.stem)
def test_data_sets_import_the_data_package_and_the_cache_alone(path):
    allowed = ("lightning_genae.data", "lightning_genae.cache", *LEAVES)
    assert not {module for module in imported_of_ours(path) if not module.startswith(allowed)}


@pytest.mark.parametrize("path", sorted((ROOT / "lightning_genae" / "data").rglob("*.py")), ids=lambda path: path.stem)
def test_the_data_package_imports_no_model_and_no_metric(path):
    assert not {module for module in imported_of_ours(path) if not module.startswith(("lightning_genae.data", *LEAVES))}


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "models"], ids=lambda path: path.stem)
def test_models_do_not_import_models(path):
    others = {module for module in imported(path) if module.startswith("lightning_genae.models.")}
    assert not {module for module in others if not module.split(".")[2].startswith("_")}


def test_the_check_sees_imports():
    assert area("lightning_genae.commands.build") == "lightning_genae.commands"
    assert area("lightning_genae.commandsx") == "lightning_genae" and area("runx") is None
    assert "lightning_genae.commands" in {area(module) for module in imported(ROOT / "run.py")}
    assert "callbacks" in {area(module) for module in imported(ROOT / "lightning_genae/commands/build.py")}
    assert "datamodules" in {area(module) for module in imported(ROOT / "datamodules" / "digits.py")}


def declared() -> tuple[dict[str, Requirement], dict[str, Requirement]]:
    """What pyproject.toml requires, and what its extras for users require, by the names of packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [of for name, of in project["optional-dependencies"].items() if name not in ("test", "docs", "mutation")]
    return tuple(
        {one.name.lower().replace("_", "-"): one for one in map(Requirement, chain(*of))}
        for of in ([project["dependencies"]], extras)
    )


def others(nodes) -> set[str]:
    """Packages that these nodes of a syntax tree import, other than ours and Python's, by their names in the index."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    return {PACKAGES.get(name, name).replace("_", "-") for name in names - OURS - sys.stdlib_module_names}


@pytest.mark.parametrize("path", EVERY, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_declared(path):
    """At the top of a file by the dependencies, within functions by an extra at least."""
    tree = ast.parse(path.read_text())
    later = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    required, extra = declared()
    assert others(node for node in ast.walk(tree) if id(node) not in later) <= required.keys()
    assert others(ast.walk(tree)) <= required.keys() | extra.keys()


def test_what_is_declared_is_imported():
    found = {name for path in EVERY for name in others(ast.walk(ast.parse(path.read_text())))}
    required, extra = declared()
    assert required.keys() | extra.keys() <= found


def is_private(name: str) -> bool:
    return bool(re.fullmatch(r"_(?!_)\w+", name)) and name not in DOCUMENTED


def own_names(tree: ast.AST) -> set[str]:
    """What a file defines: functions, classes, attributes of them and of `self`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def foreign_private(tree: ast.AST, own: set[str]) -> set[str]:
    """Private names of others in a syntax tree: imported, as attributes, also by getattr and the like, and as words
    that could only be the name of such a class."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (is_self(node.value) and node.attr in own):
            names.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            paths = [f"{module}{alias.name}".split(".") for alias in node.names]
            names |= {part for path in paths if path[0] not in OURS for part in path}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in BY_NAME:
            names |= {one.value for one in node.args[1:2] if isinstance(one, ast.Constant)}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"_[A-Z]\w+", str(node.value)) and node.value not in own:
            names.add(node.value)
    return {name for name in names if is_private(name)}


def test_private_names_of_others_are_listed():
    trees = {path: ast.parse(path.read_text()) for path in EVERY}
    own = set().union(*map(own_names, trees.values()))
    found = {(str(path.relative_to(ROOT)), name) for path, tree in trees.items() for name in foreign_private(tree, own)}
    assert found == PRIVATE.keys()


@pytest.mark.parametrize("package", sorted(set(PRIVATE.values())))
def test_packages_of_private_names_are_bounded_from_above(package):
    assert any(one.operator.startswith("<") for one in declared()[0][package].specifier)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from torch._six import inf", {"_six"}),
        ("from torch.nn import _reduction as r", {"_reduction"}),
        ("import torch._dynamo", {"_dynamo"}),
        ("from lightning_genae.options import x; from datamodules import _base", set()),
        ("parser._actions; trainer.loop._count = 1", {"_actions", "_count"}),
        ("getattr(x, '_hidden', None); hasattr(x, '__len__'); type(x).__name__ == '_Kind'", {"_hidden", "_Kind"}),
        ("class A:\n def _f(self): self._g = self._f(); self._h; other._f", {"_h", "_f"}),
        ("record._replace(a=1)._asdict(); for_all = [_ for _ in x]; '_low'", set()),
    ],
)
def test_the_scan_sees_private_names(code, expected):
    tree = ast.parse(code)
    assert foreign_private(tree, own_names(tree)) == expected
