"""An option that chooses in its turn: `--augment.autoencoder NAME` and the options of what it chooses."""

from pathlib import Path

import pytest
import torch

import run
from lightning_genae.ablation.grid import expand
from lightning_genae.augment.ae import AUTOENCODER
from lightning_genae.commands.build import build_augment
from lightning_genae.config.nested import collect
from lightning_genae.config.nested import expand as expand_choice
from lightning_genae.errors import UserError
from tests.data import dataset_of

NARROW = {"autoencoder": "ae", "autoencoder.width": 8}


def parse(*words: str) -> dict:
    return run.COMMAND_LINE.parse(["--augment", "ae", *words])["augment"]


def test_a_choice_and_its_options_in_a_mapping_or_a_key_for_each():
    assert expand_choice({"autoencoder": {"name": "ae", "width": 8}, "steps": 1}, "autoencoder") == {
        **NARROW,
        "steps": 1,
    }
    assert expand_choice({"autoencoder": "ae"}, "autoencoder") == {"autoencoder": "ae"}
    assert expand_choice({"autoencoder": {"width": 8}}, "autoencoder") == {"autoencoder.width": 8}
    assert collect({**NARROW, "steps": 1}, "autoencoder") == {"autoencoder": {"name": "ae", "width": 8}, "steps": 1}


def test_options_are_those_of_what_is_chosen():
    assert parse()["autoencoder"] == "ae" and parse()["autoencoder.noise"] is None  # left to what chooses
    assert parse("--augment.autoencoder.noise", "null") == parse() == parse("--augment.autoencoder.network=null")
    with pytest.raises(UserError, match=r"--augment.autoencoder.noise: expected no, .*diffaug or null; got 'maybe'"):
        parse("--augment.autoencoder.noise", "maybe")
    chosen = parse("--augment.autoencoder", "vae", "--augment.autoencoder.beta", "4")
    assert (chosen["autoencoder"], chosen["autoencoder.beta"]) == ("vae", 4.0) and "autoencoder.noise" not in chosen
    assert chosen == parse("--augment.autoencoder.name=vae", "--augment.autoencoder.beta=4.0")
    with pytest.raises(UserError, match=r"--augment.autoencoder.beta: there is no such option here"):
        parse("--augment.autoencoder.beta", "4")
    with pytest.raises(
        UserError,
        match=r"--augment.autoencoder: expected one of .*aae.*, ae, .*vaegan.*; got 'cogan', which has no encode",
    ):
        parse("--augment.autoencoder", "cogan")


@pytest.mark.parametrize(
    "text",
    [
        "augment: {name: ae, autoencoder: {name: vae, beta: 4.0}}",
        "augment: {name: ae, autoencoder: vae, autoencoder.beta: 4.0}",
        "augment: ae\naugment.autoencoder: vae\naugment.autoencoder.beta: 4.0",
    ],
)
def test_every_form_of_a_config_file(tmp_path, capsys, text):
    path = tmp_path / "config.yaml"
    path.write_text(text + "\n")
    config = run.COMMAND_LINE.parse(["--config", str(path)])
    assert config["augment"] == parse("--augment.autoencoder", "vae", "--augment.autoencoder.beta", "4")
    assert capsys.readouterr().out == ""
    config = run.COMMAND_LINE.parse(["--config", str(path), "--augment.autoencoder", "ae", "--augment.steps", "7"])
    assert config["augment"] == parse("--augment.steps", "7")
    assert "--augment.autoencoder ae replaces the config file's; its options of --augment.autoencoder.* are" in (
        capsys.readouterr().out
    )
    config = run.COMMAND_LINE.parse(["--config", str(path), "--augment", "none"])
    assert config["augment"]["name"] == "none" and "autoencoder" not in config["augment"]


def test_a_resolved_config_says_the_same_again(tmp_path, capsys):
    words = ["--augment", "ae+classic", "--augment.autoencoder", "aae", "--augment.autoencoder.width", "3"]
    run.COMMAND_LINE.parse([*words, "--print_config"])
    path = tmp_path / "config.yaml"
    path.write_text(capsys.readouterr().out)
    assert run.COMMAND_LINE.parse(["--config", str(path)]) == run.COMMAND_LINE.parse(words)


def test_the_help_has_the_options_and_says_what_can_be_chosen(capsys):
    assert run.COMMAND_LINE.parse(["--augment", "ae", "--augment.autoencoder", "vaegan", "--help"]) is None
    text = " ".join(capsys.readouterr().out.split())
    assert "--augment.autoencoder vaegan" in text and "--augment.autoencoder.adversarial" in text
    assert f"Any of {', '.join(AUTOENCODER.names())} may be --augment.autoencoder." in text


def test_a_grid_over_autoencoders_gives_each_its_own_options():
    words = ["--augment", "none,ae", "--augment.autoencoder", "ae,vae", "--augment.autoencoder.beta", "1,4"]
    grid = expand([*words, "--augment.autoencoder.latent_dim", "5"], run.COMMAND_LINE, Path("grid"))
    chosen = [cell.config["augment"] for cell in grid.cells]
    found = [(one["name"], one.get("autoencoder"), one.get("autoencoder.beta")) for one in chosen]
    assert found == [("none", None, None), ("ae", "ae", None), ("ae", "vae", 1.0), ("ae", "vae", 4.0)]
    assert [one.get("autoencoder.latent_dim") for one in chosen] == [None, 5, 5, 5]
    for cell in grid.cells:
        assert run.COMMAND_LINE.parse(cell.words) == cell.config
    assert "--augment.autoencoder.beta is not an option of --augment.autoencoder ae, and left out there" in grid.notes
    assert "--augment.autoencoder is not an option of --augment none, and left out there" in grid.notes


def test_the_augmentation_is_given_what_was_typed():
    words = ["--augment", "ae+noise", "--augment.match", "ae", "--augment.autoencoder", "vae"]
    config = run.COMMAND_LINE.parse([*words, "--augment.autoencoder.beta", "4", "--augment.autoencoder.width", "3"])
    augment = build_augment(config, dataset_of(torch.zeros(20, 1, 8, 8, dtype=torch.uint8)), None)
    (matched,) = augment.parts["noise"].matched
    for part in (augment.parts["ae"], matched):
        assert (part.model.__name__, part.options["beta"], part.options["width"]) == ("VAE", 4.0, 3)
