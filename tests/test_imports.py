"""Who may import whom; see the map in README.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# area: the areas whose files it may import, beside its own
ALLOWED = {
    "run": {"lightning_genae.commands", "lightning_genae"},
    "lightning_genae.commands": {"callbacks", "datamodules", "lightning_genae"},
    "callbacks": {"lightning_genae"},
    "lightning_genae": set(),
    "datamodules": set(),
}
AREAS = sorted([*ALLOWED, "tests"], key=len, reverse=True)  # of a module the first one that fits
FOLDERS = ("lightning_genae", "callbacks", "datamodules")
FILES = [ROOT / "run.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
ROOMS = [path for path in FILES if path.name == "run.py" or path.parent.name in ("commands", "config")]
MAX_LINES = {"run.py": 200, "commands": 250, "config": 250}


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


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_private_names_stay_in_their_package(path):
    package = name_of(path).rpartition(".")[0]
    ours = {module for module in imported(path) if area(module)}
    assert not {module for module in ours if "._" in module and not module.startswith(f"{package}._")}


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_files_and_functions_can_be_read(path):
    text = path.read_text()
    assert text.count("\n") < MAX_LINES.get(path.name, MAX_LINES.get(path.parent.name))
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if node.end_lineno - node.lineno >= 60]


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
