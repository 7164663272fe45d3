"""Named arms: the file, the grid that it makes, and where the names appear."""

import csv
import json
import re
from pathlib import Path

import pytest

import run
from lightning_genae.ablation.arms import read_arms
from lightning_genae.ablation.grid import expand
from lightning_genae.ablation.records import compare, read
from lightning_genae.ablation.report import Report
from tests.conftest import ROOT, shell
from tests.test_ablate import FAST
from tests.test_escape import Page, read_latex
from tests.test_report import by_column, make_run

COMMAND_LINE = run.COMMAND_LINE
THREE = """
none: {augment: none}
ae: &ae {augment: ae, augment.strength: 0.25}
ae, decoded: {<<: *ae, augment.detail: decode}
"""


def arms_of(text: str, path: str = "arms.yaml") -> dict[str, dict[str, str]]:
    Path(path).write_text(text)
    return read_arms(path, {"folder"})


def grid(text: str, *words: str):
    return expand(list(words), COMMAND_LINE, Path("grid"), arms_of(text))


def test_values_are_text_as_on_the_command_line():
    found = arms_of(
        "a: {model.lr: 1e-3, model.hidden: [64, 32], augment.flip: yes}\n1: {x: 010, y: null, z: 'a b'}\nb: {}"
    )
    assert found == {
        "a": {"model.lr": "1e-3", "model.hidden": "[64,32]", "augment.flip": "yes"},
        "1": {"x": "010", "y": "null", "z": "a b"},
        "b": {},
    }


def test_merges_and_both_names_of_an_option():
    assert arms_of(THREE)["ae, decoded"] == {"augment": "ae", "augment.strength": "0.25", "augment.detail": "decode"}
    assert arms_of("a: {augment.name: ae, trainer.precision: bf16-mixed}") == {
        "a": {"augment": "ae", "precision": "bf16-mixed"}
    }


def test_every_arm_is_run_with_every_other_value():
    made = grid(THREE, "--seed", "0,1", "--data.num_train", "100,200", "--steps", "7")
    found = [
        (cell.config["seed"], cell.arm, cell.config["data"]["num_train"], cell.config["augment"].get("detail"))
        for cell in made.cells
    ]
    details = {"none": None, "ae": "residual", "ae, decoded": "decode"}
    assert found == [(seed, arm, num, details[arm]) for seed in (0, 1) for arm in details for num in (100, 200)]
    for cell in made.cells:
        assert COMMAND_LINE.parse(cell.words) == cell.config and cell.config["steps"] == 7
    assert len({cell.folder for cell in made.cells}) == 12


def test_an_arms_options_replace_those_of_the_command_line():
    text = "a: {}\nb: {model.lr: 0.5}\nc: {augment: none}"
    made = grid(text, "--model.lr", "0.25", "--augment", "ae", "--augment.strength", "0.125")
    found = {cell.arm: (cell.config["model"]["lr"], cell.config["augment"].get("strength")) for cell in made.cells}
    assert found == {"a": (0.25, 0.125), "b": (0.5, 0.125), "c": (0.25, None)}
    assert made.notes == [
        "--model.lr of the command line is replaced in 'b'",
        "--augment of the command line is replaced in 'c'",
        "--augment.strength is not an option of --augment none, and left out there",
    ]


def test_folders_of_arms_stay_in_the_grids():
    made = grid("..: {}\n../x: {steps: 1}\n.lock: {steps: 2}\nreport: {steps: 3}\n'~': {steps: 4}", "--seed", "0")
    folders = [str(cell.folder) for cell in made.cells]
    assert all(path.count("/") == 2 and path.startswith("grid/arm=") for path in folders)
    assert len(set(folders)) == 5


WRONG = [
    (None, "", "--arms: expected a file; got 'arms.yaml' (No such file or directory)"),
    (
        "",
        "",
        "--arms: expected names of arms and their options, such as 'none: {augment: none}', in 'arms.yaml'; got no",
    ),
    ("{}", "", "in 'arms.yaml'; got nothing"),
    ("- none\n- ae", "", "in 'arms.yaml'; got a list"),
    ("none", "", "in 'arms.yaml'; got 'none'"),
    ("a: {b: [", "", "--arms: expected YAML in 'arms.yaml'; got while parsing"),
    ("a: {}\n---\nb: {}", "", "--arms: expected YAML in 'arms.yaml'; got expected a single document"),
    ("? [a]\n: {}", "", "--arms: expected YAML in 'arms.yaml'; got while constructing a mapping"),
    (b"\xff\xfe\xff", "", "--arms: expected YAML in 'arms.yaml'; got"),
    (
        "a: {augment: none}\nb: {}\na: {augment: ae}",
        "",
        "expected every name once in 'arms.yaml'; got 'a' again in line 3",
    ),
    ("a:\n  steps: 1\n  steps: 2", "", "expected every name once in 'arms.yaml'; got 'steps' again in line 3"),
    ("a: {augment: ae, augment.name: vae}", "", "expected every option once in 'a'; got augment, augment.name"),
    (
        "a: !!python/object/apply:os.mkdir [made]",
        "",
        "got the tag tag:yaml.org,2002:python/object/apply:os.mkdir in line 1",
    ),
    ("a: {steps: !!int 3}", "", "--arms: expected plain values in 'arms.yaml'; got the tag tag:yaml.org,2002:int"),
    ("a: &a {steps: 1}\nb: {data: *a}", "", "--arms: expected one value for data in 'b'; got a mapping"),
    ("a: &a {b: *a}", "", "--arms: expected one value for b in 'a'; got a mapping"),
    ("a: ae", "", "--arms: expected options of 'a', as in 'none: {augment: none}'; got 'ae'"),
    ("a:", "", "--arms: expected options of 'a', as in 'none: {augment: none}'; got nothing"),
    ("'': {}", "", "--arms: expected names of printable characters, without spaces around them; got ''"),
    ("' a': {}", "", "--arms: expected names of printable characters, without spaces around them; got ' a'"),
    ('"a\\e[2J": {}', "", r"without spaces around them; got 'a\x1b[2J'"),
    ('"\\ud800": {}', "", r"without spaces around them; got '\ud800'"),
    ('a: {data.root: "\\0"}', "", r"--arms: expected one value for data.root in 'a'; got '\x00'"),
    ("a: {augment.strength: '0.1,0.2'}", "", "expected one value for augment.strength in 'a'; got '0.1,0.2'"),
    ("a: {seed: 1}", "", "expected options in which arms can differ in 'a'; got seed, which is for all of them"),
    ("a: {folder: /tmp/x}", "", "expected options in which arms can differ in 'a'; got folder"),
    ("a: {launcher: print}", "", "expected options in which arms can differ in 'a'; got launcher"),
    ("a: {slurm.time: 3}", "", "expected options in which arms can differ in 'a'; got slurm.time"),
    ("a: {config: b.yaml}", "", "expected options in which arms can differ in 'a'; got config"),
    ("a: {--augment: ae}", "", "expected options without dashes, such as augment.on, in 'a'; got '--augment'"),
    (
        "a: {augment: ae, augment.strenght: 1}\nb: {}",
        "",
        "--arms: 'a': --augment.strenght: there is no such option here; did you mean '--augment.strength'?",
    ),
    (
        "a: {augment: none, augment.strength: 1}\nb: {augment: ae}",
        "",
        "--arms: 'a': --augment.strength: there is no such option",
    ),
    ("a: {augment: ea}\nb: {}", "", "--arms: 'a': --augment: expected one of ada, ae,"),
    ("a: {model.lr: fast}\nb: {}", "", "--arms: 'a': --model.lr: expected a number"),
    ("a: {model.lr: ''}\nb: {}", "", "--arms: 'a': --model.lr: expected a number"),
    ("a: {}\nb: {}", "--model.lr fast", "error: --model.lr: expected a number"),
    ("a: {}", "", "expected an option with several values"),
    (
        THREE,
        "--augment none,ae",
        "--arms: expected --augment in arms or with several values on the command line, not both; got none,ae there",
    ),
    (
        "a: {augment: ae}\nb: {augment: ae}",
        "",
        "expected arms that differ in their options; got the same ones in 'a' and",
    ),
    ("a: {}\nb: {steps: 3000}", "", "expected arms that differ in their options; got the same ones in 'a' and 'b'"),
    ("a: {}\nb: {data: folder, data.root: /x, data.download: true}", "", "--arms: 'b': --data.download: there is no"),
    (
        "a: {}\nb: {data: cifar10, data.root: /x}",
        "--data.download true",
        "--data.root: expected a folder below the current one or the config file's; got '/x' from 'arms.yaml'",
    ),
    (THREE, "--baseline nothing", "--baseline: expected one of none, ae, ae, decoded; got nothing"),
    (THREE, "--factor model", "--factor: expected one that varies, arms, augment; got model"),
]


@pytest.mark.parametrize("text, words, message", WRONG)
def test_wrong_files(cli, text, words, message):
    if text is not None:
        Path("arms.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, error = cli("ablate", "--arms", "arms.yaml", *words.split(), "--launcher", "print", "--folder", "grid")
    assert status == 2 and message in error, out + error
    assert error.startswith("run.py: error: ") and error.count("\n") == 1
    assert not Path("made").exists() and not Path("grid").exists()


def note(cli, text: str, *words: str, seeds: str = "0..2") -> tuple[int, str]:
    """Writes a grid's record by the real command, which runs nothing; status and error."""
    Path("arms.yaml").write_text(text)
    words = ("--launcher", "print", "--folder", "grid", "--steps", "20", "--seed", seeds, *words)
    status, _, error = cli("ablate", "--arms", "arms.yaml", *words)
    return status, error


def finish(values: dict[str, list[float]], **also: float) -> None:
    """Finishes the runs of the grid, with Frechet distances by arm and seed."""
    for cell in json.loads(Path("grid/ablation.json").read_text())["cells"]:
        config = cell["config"]
        fd = values[cell["arm"]][config["seed"]] * also.get(f"data{config['data.num_train']}", 1)
        make_run(Path("grid", cell["folder"]), {"fd": fd})


VALUES = {"none": [2.0, 4.0, 8.0], "ae": [4.0, 8.0, 16.0], "ae, decoded": [1.0, 2.0, 2.0]}


def test_names_in_all_forms_of_the_report(cli):
    assert note(cli, THREE) == (0, "")
    finish(VALUES)
    status, out, error = cli("compare", "grid")
    assert status == 0, error
    report = Report(*read([Path("grid")]))
    (table,) = report.main_tables()
    assert [row[0] for row in table.rows] == ["none", "ae", "ae, decoded"]
    # half, half and a quarter: 16 to the power of -1/3
    assert by_column(table, "ae, decoded")["to none"].startswith("-60.3 % (")
    assert by_column(table, "ae")["to none"] == "+100.0 %"
    assert "strength 0.25, detail decode, neighbours 5" in by_column(table, "ae, decoded")["setting"]
    assert re.search(r"\nae, decoded +3 ", out)
    texts = {name: Path("grid/report", name).read_text() for name in ("report.html", "tables.md", "tables.tex")}
    assert texts["report.html"].count("samples of ae, decoded, seed 1, fd 2") == 1
    assert "<td>ae, decoded</td><td>3</td>" in texts["report.html"] and re.search(
        r"\| ae, decoded +\| +3 \|", texts["tables.md"]
    )
    assert "ae, decoded & 3 &" in texts["tables.tex"]
    rows = list(csv.reader(Path("grid/report/tables.csv").read_text().splitlines()))
    assert ["ae, decoded", "3"] in [row[:2] for row in rows]


def test_the_first_arm_of_the_file_is_the_reference(cli):
    later = THREE.replace("none: {augment: none}\n", "") + "none: {augment: none}\n"
    assert note(cli, later) == (0, "")
    finish(VALUES)
    (comparison,) = compare(read([Path("grid")])[0])
    assert comparison.baseline == "ae" and list(comparison.arms) == ["ae", "ae, decoded", "none"]
    (comparison,) = compare(read([Path("grid")])[0], baseline="ae, decoded")
    assert comparison.baseline == "ae, decoded"
    # of the newest file, and its order
    assert note(cli, "noise: {augment: noise}\n" + THREE) == (0, "")
    (comparison,) = compare(read([Path("grid")])[0])
    assert comparison.baseline == "noise" and list(comparison.arms) == ["noise", "none", "ae", "ae, decoded"]
    assert comparison.missing("noise") == [0, 1, 2] and comparison.missing("ae") == []


def test_other_grids_are_contexts_of_arms(cli):
    assert note(cli, THREE, "--data.num_train", "100,200") == (0, "")
    finish(VALUES, data200=10)
    records, _ = read([Path("grid")])
    for comparison, factor in zip(compare(records), (1, 10)):
        assert comparison.title == f"data.num_train {100 if factor == 1 else 200}"
        assert comparison.baseline == "none" and comparison.values("ae", "fd") == {
            seed: factor * value for seed, value in enumerate(VALUES["ae"])
        }
    turned = compare(records, factor="data.num_train")
    assert [one.title for one in turned] == ["none", "ae", "ae, decoded"]
    assert list(turned[0].arms) == ["data.num_train 100", "data.num_train 200"]
    # an option of the arms themselves is compared by its values, and none of its contexts is called by an arm
    assert [one.title for one in compare(records, factor="augment")] == ["data.num_train 100", "data.num_train 200"]


def test_what_an_arm_does_not_have_is_part_of_the_others_names(cli):
    """--augment.neighbours, which `none` has not: it stands beside every value of it, in one family of comparisons."""
    assert note(cli, THREE, "--augment.neighbours", "3,7") == (0, "")
    (comparison,) = compare(read([Path("grid")])[0])
    expected = [f"{arm}, augment.neighbours {num}" for arm in ("ae", "ae, decoded") for num in (3, 7)]
    assert list(comparison.arms) == ["none", *expected] and comparison.baseline == "none"


def test_every_option_that_arms_differ_in_is_in_their_setting(cli):
    assert note(cli, "slow: {}\nfast: {model.lr: 0.5}\nvae: {model: vae, model.beta: 2}") == (0, "")
    (comparison,) = compare(read([Path("grid")])[0])
    settings = {arm: comparison.setting(arm) for arm in comparison.arms}
    assert "model gan" in settings["slow"] and "model.lr 0.5" in settings["fast"] and "model.beta 2" in settings["vae"]
    shared = comparison.shared()
    assert shared["steps"] == 20 and not any(key.startswith(("model", "augment")) for key in shared)


def test_a_folder_goes_on_and_refuses_other_arms_by_name(cli):
    assert note(cli, THREE, seeds="0,1") == (0, "")
    assert note(cli, THREE + "pca: {augment: pca}\n") == (0, "")
    record = json.loads(Path("grid/ablation.json").read_text())
    assert len(record["cells"]) == 12 and len(record["commands"]) == 2
    assert record["arms"]["ae, decoded"] == {"augment": "ae", "augment.strength": "0.25", "augment.detail": "decode"}

    def refused(text: str, *words: str) -> str:
        status, error = note(cli, text, *words)
        assert status == 2 and json.loads(Path("grid/ablation.json").read_text()) == record
        return error

    words = (
        "--arms: 'ae, decoded' is an arm with --augment.detail decode, not residual; expected another name or another"
    )
    assert words in refused(THREE.replace("decode}", "residual, augment.neighbours: 3}"))
    words = "--arms: 'ae' is an arm with --augment.strength 0.25, not 0.5; expected another name or another folder"
    assert words in refused(THREE.replace(", augment.strength: 0.25", ""))
    words = "--arms: 'none' is an arm with --model.lr null, not 0.5; expected another name or another folder"
    assert words in refused(THREE.replace("augment: none", "augment: none, model.lr: 0.5"))
    words = (
        "--arms: expected other options than those of 'ae, decoded', which is in 'grid'; got the same ones in 'other'"
    )
    assert words in refused(THREE.replace("ae, decoded", "other"))
    assert "' is a run with --model.lr null, not 0.5; expected another folder" in refused(THREE, "--model.lr", "0.5")
    status, _, error = cli("ablate", "--launcher", "print", "--folder", "grid", "--augment", "none,ae", "--steps", "20")
    assert status == 2 and "'grid' is an ablation with named arms, got one without" in error
    words = ("--launcher", "print", "--folder", "without", "--augment", "none,noise")
    assert cli("ablate", *words)[0] == 0
    status, _, error = cli("ablate", *words[:4], "--arms", "arms.yaml")
    assert status == 2 and "'without' is an ablation without named arms, got one with" in error


def test_names_of_one_grid_alone_are_not_mixed_with_values_of_another(cli):
    """`ae` would be two arms: the one of that name, and the one of that value."""
    assert note(cli, THREE.partition("ae, dec")[0] + "linear: {augment: pca}") == (0, "")
    words = ("--launcher", "print", "--folder", "other", "--augment", "none,ae", "--steps", "20", "--seed", "0..2")
    assert cli("ablate", *words)[0] == 0
    records, _ = read([Path("grid"), Path("other")])
    (comparison,) = compare(records)
    assert list(comparison.arms) == ["none", "ae, strength 0.25", "pca, strength 0.5", "ae, strength 0.5"]
    assert [one.title for one in compare(records, factor="augment.strength")] == ["none", "ae", "pca"]


def test_a_record_whose_arms_are_none(cli):
    assert note(cli, THREE) == (0, "")
    record = json.loads(Path("grid/ablation.json").read_text())
    Path("grid/ablation.json").write_text(json.dumps(record | {"arms": ["none"]}))
    status, error = note(cli, THREE)
    assert status == 2 and "'grid/ablation.json' is damaged" in error


HOSTILE = [
    "<script>open('x')</script>",
    "=cmd|' /C calc'!A0",
    r"\input{/etc/passwd}",
    "a | b",
    "{{ 7 * 7 }}",
    "$\\frac{$",
]


def test_hostile_names_are_text(cli):
    text = "".join(f"{json.dumps(name)}: {{augment.strength: 0.{i + 1}}}\n" for i, name in enumerate(HOSTILE))
    assert note(cli, text, "--augment", "ae", seeds="0,1") == (0, "")
    finish({name: [1.0, 2.0] for name in HOSTILE})
    assert cli("compare", "grid")[0] == 0
    page = Page(Path("grid/report/report.html").read_text())
    assert set(HOSTILE) <= set(page.text) and "script" not in page.elements
    rows = list(csv.reader(Path("grid/report/tables.csv").read_text().splitlines()))
    assert "'=cmd|' /C calc'!A0" in [row[0] for row in rows if row]
    lines = Path("grid/report/tables.tex").read_text().splitlines()
    names = [read_latex(line.split(" & ")[0]) for line in lines if " & " in line]
    assert set(HOSTILE) <= set(names)
    assert re.search(r"\| a \\\| b +\| +2 \|", Path("grid/report/tables.md").read_text())


def test_the_list_of_the_study_of_little_data():
    """All of it is said, and arms are chosen alike: on the data 0.5, on the critic 0.7, except for the last four."""
    arms = read_arms(str(ROOT / "benchmarks/low_data/arms.yaml"), set())
    assert next(iter(arms)) == "none" and len(arms) == 16
    made = expand(["--data.num_train", "100"], COMMAND_LINE, Path("grid"), arms)
    assert len(made.cells) == 16 and not made.notes
    for arm in list(arms)[1:12]:
        assert arms[arm]["augment.fraction"] == {"data": "0.5", "critic": "0.7"}[arms[arm]["augment.on"]], arm
    assert arms["noise"]["augment.match"] == "ae" and arms["ae+classic"]["augment"] == "ae+classic"


@pytest.mark.slow
def test_named_arms_from_the_first_run_to_the_report(tmp_path):
    (tmp_path / "arms.yaml").write_text("none: {augment: none}\nnoise, half: {augment: noise, augment.fraction: 0.5}\n")
    words = ("ablate", "--arms", "arms.yaml", *FAST, "--folder", "grid", "--cache", "cache")
    first = shell(*words, "--workers", "2", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 runs: 2 arms\n" in first.stdout and re.search(r"\nnoise, half +1 ", first.stdout)
    again = shell(*words, "--workers", "2", cwd=tmp_path)
    assert "2 of 2 runs are finished, 0 are to be run" in again.stdout
    # W&B has the tables, offline
    tables = [path.read_text() for path in tmp_path.glob("grid/wandb/offline-run-*/files/media/table/**/*.json")]
    assert any('"noise, half"' in table for table in tables)
