"""Named arms: a YAML file that lists the arms of a study and their options.

    none: {augment: none}
    ae, decoded: {augment: ae, augment.detail: decode}

Options are those of the command line without their dashes. Values are written as on the command line and stay text
until it parses them. YAML's anchors and merges (`<<: *ae`) work. Tags, which would create other objects, are refused.
"""

import re
from pathlib import Path

import yaml

from lightning_genae.ablation.grid import Cell, pair, split
from lightning_genae.cache import digest
from lightning_genae.received import check_config
from lightning_genae.run_folder import NOT_HASHED, identity

EXAMPLE = "'none: {augment: none}'"
PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", "merge")}
NOT_OF_RUNS = {*NOT_HASHED, "config", "help", "print_config"}  # the same for all arms, or not options of a run


class _Loader(yaml.SafeLoader):
    """YAML whose values are all text and whose names are unique."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node:
        node = super().compose_node(parent, index)
        assert node is not None  # types-PyYAML allows it, PyYAML does not return it
        if node.tag not in PLAIN:
            raise self._wrong("plain values", f"the tag {node.tag}", node)
        names = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in names:
                    raise self._wrong("every name once", f"{key.value!r} again", key)
                names.add(key.value)
        return node

    def _wrong(self, expected: str, got: str, node: yaml.Node) -> ValueError:
        return ValueError(f"--arms: expected {expected} in '{self.name}'; got {got} in line {node.start_mark.line + 1}")


def read_arms(path: str, reserved: set[str]) -> dict[str, dict[str, str]]:
    """The arms of a file: name to option to value as text, in the order of the file.

    Args:
        path: of the file.
        reserved: options that no arm can set because they are not options of a run, such as launcher.

    Raises:
        ValueError: the file does not exist, or its content is not a mapping of arms.
    """
    content = _read(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"--arms: expected names of arms and their options, such as {EXAMPLE}, in '{path}'; got {_kind(content)}"
        )
    return {name: _options(name, options, reserved | NOT_OF_RUNS) for name, options in content.items()}


def check_written(path: str, arms: dict[str, dict[str, str]], cells: list[Cell]) -> None:
    """Raises ValueError if an arm's --data.root would be written to and lies where a file may not direct writes."""
    for cell in cells:
        if "data.root" in arms.get(cell.arm, {}):
            data = cell.config["data"]
            written = {"data.root": data["root"], "data.download": data.get("download")}
            check_config(path, written, is_given=lambda name: False)


def check_differ(cells: list[Cell]) -> None:
    """Raises ValueError if two arms have the same options, including defaults: they would be the same run."""
    names: dict[str, str] = {}
    for cell in cells:
        other = names.setdefault(digest(identity(cell.config)), cell.arm)
        if other != cell.arm:
            raise ValueError(
                f"--arms: expected arms that differ in their options; got the same ones in '{other}' and '{cell.arm}'"
            )


def _read(path: str) -> object:
    try:
        with Path(path).open("rb") as file:
            return yaml.load(file, _Loader)
    except OSError as error:
        raise ValueError(f"--arms: expected a file; got '{path}' ({error.strerror})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"--arms: expected YAML in '{path}'; got {' '.join(str(error).split())}") from error


def _options(arm: str, options: object, reserved: set[str]) -> dict[str, str]:
    """An arm's options as text."""
    if not arm or not arm.isprintable() or arm != arm.strip():
        raise ValueError(f"--arms: expected names of printable characters, without spaces around them; got {arm!r}")
    if not isinstance(options, dict):
        raise ValueError(f"--arms: expected options of '{arm}', as in {EXAMPLE}; got {_kind(options)}")
    words = []
    for name, value in options.items():
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name, re.ASCII):
            raise ValueError(f"--arms: expected options without dashes, such as augment.on, in '{arm}'; got {name!r}")
        if name in reserved or name.startswith("slurm."):
            raise ValueError(
                f"--arms: expected options in which arms can differ in '{arm}'; got {name}, which is for all of them: "
                "--OPTION VALUE on the command line"
            )
        words.append(f"--{name}={_text(arm, name, value)}")
    return _once(arm, list(options), pair(words))


def _once(arm: str, names: list[str], options: dict[str, str]) -> dict[str, str]:
    """The options by their canonical names. Raises ValueError if two names mean the same option."""
    if len(options) < len(names):
        raise ValueError(f"--arms: expected every option once in '{arm}'; got {', '.join(names)}")
    return options


def _text(arm: str, name: str, value: object) -> str:
    """A value as typed on the command line."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = f"[{','.join(value)}]"
    if not isinstance(value, str) or not value.isprintable() or len(split(value)) > 1:
        shown = repr(value) if isinstance(value, str) else _kind(value)
        raise ValueError(f"--arms: expected one value for {name} in '{arm}'; got {shown}")
    return value


def _kind(value: object) -> str:
    if not value:
        return "nothing"
    names: dict[type, str] = {dict: "a mapping", list: "a list"}
    return names.get(type(value)) or repr(value)[:80]
