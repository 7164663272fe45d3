"""Who may import whom; see docs/architecture.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "datamodules": {"datamodules", "lightning_genae"},
    "callbacks": {"callbacks", "lightning_genae"},
    "lightning_genae": {"lightning_genae"},
}
OURS = {"datamodules", "callbacks", "lightning_genae", "run", "tests"}
FILES = [path for folder in ALLOWED for path in (ROOT / folder).rglob("*.py")]


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return modules


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    allowed = ALLOWED[path.relative_to(ROOT).parts[0]]
    assert {module.partition(".")[0] for module in imported(path)} & OURS <= allowed


def imported_of_ours(path: Path) -> set[str]:
    return {module for module in imported(path) if module.startswith("lightning_genae.")}


@pytest.mark.parametrize("path", sorted((ROOT / "datamodules").glob("*.py")), ids=lambda path: path.stem)
def test_data_sets_import_the_data_package_alone(path):
    assert all(module.startswith("lightning_genae.data") for module in imported_of_ours(path))


@pytest.mark.parametrize("path", sorted((ROOT / "lightning_genae" / "data").rglob("*.py")), ids=lambda path: path.stem)
def test_the_data_package_imports_no_model_and_no_metric(path):
    others = {module for module in imported_of_ours(path) if not module.startswith("lightning_genae.data")}
    assert others <= {"lightning_genae.registry"}


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "models"], ids=lambda path: path.stem)
def test_models_do_not_import_models(path):
    others = {module for module in imported(path) if module.startswith("lightning_genae.models.")}
    assert not {module for module in others if not module.split(".")[2].startswith("_")}


def test_the_check_sees_imports():
    assert "datamodules" in {module.partition(".")[0] for module in imported(ROOT / "datamodules" / "digits.py")}
