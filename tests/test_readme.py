"""Every command of README.md is understood, and runs, in the README's order, with few steps."""

import re
import shlex
import subprocess
import sys

import pytest

import run
from lightning_genae.ablation.grid import pair
from lightning_genae.commands.parse import parse_run
from lightning_genae.config.nested import flatten
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line and not line.startswith("#")]

MAIN = COMMANDS[0].partition("&& ")[2]
SHOWN = ("--help", "--print_config")  # instead of a training

(_SECTION,) = re.findall(r"## Sequences\n(.*?)\n## ", README, re.DOTALL)
SEQUENCES = [command for command in COMMANDS if command in _SECTION.splitlines()]


def test_the_two_commands():
    """Installing is .ci/run's business; here it matters that they stand there as they are run."""
    assert COMMANDS[:2] == [
        'pip install -e ".[test]" && python run.py --model gan --augment ae',
        'pip install -e ".[test]" && pytest',
    ]
    assert COMMANDS[1] in (ROOT / ".ci" / "run").read_text()


def shortened(words: list[str]) -> list[str]:
    """The command with few steps, if it trains, and few samples."""
    if words[0] == "evaluate" and "--metrics.num_samples" in words:
        return [*words, "--metrics.num_samples", "20"]
    if words[0] in ("sample", "evaluate", "compare") or "--help" in words:
        return words
    if words[0] == "ablate":
        return words if "--dry_run" in words else [*words, "--launcher", "print"]  # tests/test_ablate.py runs some
    trains = re.search(r"--augment (ae|vae)|--augment.match ae", " ".join(words))
    augments = ["--augment.steps", "10"] if trains else []
    return [*words, "--steps", "10", *augments]


def test_every_training_is_understood():
    """The options of all commands that train exist, and their values are taken; slow tests run them."""
    trainings = [shlex.split(command)[2:] for command in [MAIN, *COMMANDS[2:]]]
    trainings = [words for words in trainings if words[0] not in run.VERBS and words[-1] not in SHOWN]
    assert len(trainings) > 15
    for words in trainings:
        config = flatten(parse_run(run.COMMAND_LINE, words))
        for option, value in pair(words).items():
            expected = (
                float(value) if re.fullmatch(r"[\d.e-]+", value) else {"true": True, "false": False}.get(value, value)
            )
            assert config[option] == expected, (words, option)


@pytest.mark.slow
def test_more_commands(cli):
    commands = [MAIN, *(one for one in COMMANDS[2:] if one not in SEQUENCES)]
    assert len(commands) > 8
    check(commands, cli)


@pytest.mark.slow
def test_commands_of_sequences(cli):
    assert len(SEQUENCES) > 8
    check(SEQUENCES, cli)


def check(commands: list[str], cli) -> None:
    for command in commands:
        python, script, *words = shlex.split(command)
        assert (python, script) == ("python", "run.py")
        status, out, error = cli(*shortened(words))
        assert status == 0, (command, error)
        assert out


def test_everything_on_the_map_exists():
    (tree,) = re.findall(r"## Map\n\n```\n(.*?)```", README, re.DOTALL)
    for name in re.findall(r"(?m)^(\S+)", tree):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"(\w+\.py|\w+/)  ", tree):
        assert list(ROOT.rglob(name.rstrip("/"))), name


@pytest.mark.parametrize("path", re.findall(r"!\[.*?\]\((.*?)\)", README))
def test_pictures_exist(path):
    assert (ROOT / path).is_file()


def test_the_package_holds_what_run_needs(tmp_path):
    """`run.py` works from another folder, with nothing but the installed packages' names."""
    code = "import run, callbacks, datamodules, lightning_genae; print('found')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "found", done.stderr
