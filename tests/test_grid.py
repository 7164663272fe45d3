"""Options with several values become runs."""

import time
from pathlib import Path

import pytest

from lightning_genae.ablation.grid import describe, expand, pair, split
from lightning_genae.commands.build import build_datamodule
from lightning_genae.run_folder import config_hash
from run import COMMAND_LINE


def grid(*words: str):
    return expand(list(words), COMMAND_LINE, Path("grid"))


@pytest.mark.parametrize(
    "text, values",
    [
        ("gan", ["gan"]),
        ("gan,vae", ["gan", "vae"]),
        ("0..4", ["0", "1", "2", "3", "4"]),
        ("3..1", ["3", "2", "1"]),
        ("0,5..7", ["0", "5", "6", "7"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("1e-3,0.01", ["1e-3", "0.01"]),
        ("../images", ["../images"]),
    ],
)
def test_values(text, values):
    assert split(text) == values


def test_pairs_of_both_forms_and_flags():
    words = ["--model.name", "gan", "--seed=0..4", "--debug", "--data.num_train", "-1"]
    assert pair(words) == {"model": "gan", "seed": "0..4", "debug": "true", "data.num_train": "-1"}
    with pytest.raises(ValueError, match="expected --OPTION VALUE; got 'gan'"):
        pair(["gan"])


def test_every_cell_is_what_its_own_command_line_says():
    """Values are parsed apart from each other, so their configs have to be compared with those of whole commands."""
    made = grid("--model", "gan,vae", "--augment", "none,ae", "--seed", "0..5", "--model.lr", "1e-3,0.01")
    assert len(made.cells) == 2 * 2 * 6 * 2
    for cell in made.cells:
        assert COMMAND_LINE.parse(cell.words) == cell.config
    assert len({cell.folder for cell in made.cells}) == len(made.cells)
    assert {str(cell.folder.parent) for cell in made.cells} >= {"grid/gan-ae-model.lr=1e-3"}


def test_runs_whose_values_look_alike_have_folders_of_their_own():
    made = grid("--data.root", "a/b,a_b,a b", "--data", "folder")
    assert len({cell.folder for cell in made.cells}) == 3


def test_numbers_of_a_range_are_of_the_options_kind():
    made = grid("--model.lr", "1..4")
    assert [cell.config["model"]["lr"] for cell in made.cells] == [1.0, 2.0, 3.0, 4.0]
    assert all(isinstance(cell.config["model"]["lr"], float) for cell in made.cells)


def test_seeds_come_one_after_the_other():
    made = grid("--augment", "none,ae", "--seed", "0..2")
    assert [cell.config["seed"] for cell in made.cells] == [0, 0, 1, 1, 2, 2]


def test_seeds_of_a_grid_draw_their_data_unless_the_split_is_given(cache):
    def fingerprints(*words: str) -> dict[tuple, tuple[str, str]]:
        made = grid("--augment", "none,noise", "--seed", "0,1", "--data.num_train", "100", *words)
        loaded = {}
        for cell in made.cells:
            data = build_datamodule(cell.config | {"cache": str(cache)}).dataset
            loaded[cell.values["augment"], cell.config["seed"]] = (data.train.fingerprint, data.heldout.fingerprint)
        return loaded

    drawn = fingerprints()
    assert drawn["none", 0] == drawn["noise", 0] and drawn["none", 1] == drawn["noise", 1]
    assert drawn["none", 0][0] != drawn["none", 1][0] and drawn["none", 0][1] == drawn["none", 1][1]
    given = fingerprints("--data.split_seed", "1")
    assert set(given.values()) == {drawn["none", 1]}


def test_the_folder_of_a_run_does_not_depend_on_what_its_seed_draws():
    configs = [cell.config | {"folder": None} for cell in grid("--seed", "0,1").cells]
    assert len({config_hash(config) for config in configs}) == 1


def test_options_that_a_part_has_not_are_left_out_and_equal_cells_are_one():
    made = grid("--augment", "none,ae", "--augment.strength", "0.25,0.5", "--seed", "0,1")
    assert sorted(cell.values["augment.strength"] for cell in made.cells) == sorted(["-", "0.25", "0.5"] * 2)
    text = "\n".join(describe(made))
    assert "6 runs: 2 augment x 2 augment.strength x 2 seed" in text
    assert "--augment.strength is not an option of --augment none, and left out there" in text


def test_values_that_mean_the_same_are_one_run():
    made = grid("--model.lr", "0.001,1e-3", "--seed", "0,1")
    assert len(made.cells) == 2
    assert "2 of 4 combinations are equal to others, and run once" in made.notes


@pytest.mark.parametrize(
    "words, message",
    [
        (["--seed", "0"], "expected an option with several values, such as --seed 0..4"),
        (["--seed", "0,0"], "--seed: expected every value once; got 0,0"),
        (["--augment", "none,ea"], "--augment: expected one of .*; got 'ea'"),
        (["--seed", "0..4", "--modl", "gan"], "--modl: there is no such option here; did you mean '--model'"),
        (["--augment", "none,ae", "--augment.strenght", "1,2"], "--augment.strenght: there is no such option here"),
        (["--seed", "0..4", "--model.lr", "fast"], "--model.lr: expected a number.*; got 'fast'"),
        (["--config", "a.yaml,b.yaml", "--seed", "0..4"], "--config: expected one file; got a.yaml,b.yaml"),
        (["--seed", "-1..4"], "--seed: expected a whole number at least 0 .*; got '-1'"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(ValueError, match=message):
        grid(*words)


def test_a_config_file_is_part_of_every_cell(tmp_path):
    (tmp_path / "base.yaml").write_text("model: vae\nmodel.latent_dim: 5\nsteps: 7\n")
    made = grid("--config", str(tmp_path / "base.yaml"), "--seed", "0,1")
    assert [(cell.config["model"]["latent_dim"], cell.config["steps"]) for cell in made.cells] == [(5, 7), (5, 7)]


def test_thousands_of_cells():
    start = time.perf_counter()
    made = grid("--augment", "none,noise", "--model.lr", "1e-3,2e-3", "--seed", "0..2499")
    assert len(made.cells) == 10_000
    assert time.perf_counter() - start < 60
