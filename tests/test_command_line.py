"""The command line: any order, types, suggestions, config files, what takes precedence."""

import pytest
import yaml

import run
from lightning_genae.config.words import take_flag


def parse(*words):
    return run.COMMAND_LINE.parse(list(words))


def test_the_order_does_not_count():
    """Every word in every place, every two in both orders."""
    words = ["--model=gan", "--augment=ae", "--model.latent_dim=64", "--seed=3", "--data.num_train=500"]
    configs = [parse(*order[i:], *order[:i]) for order in (words, words[::-1]) for i in range(5)]
    assert all(config == configs[0] for config in configs)
    assert configs[0]["model"]["latent_dim"] == 64
    assert configs[0]["augment"]["name"] == "ae"


def test_a_sweep_agents_format():
    config = parse("--model.lr=0.1", "--model=gan", "--model.spectral_norm=True", "--model.hidden=[128, 64]")
    assert config["model"]["lr"] == 0.1
    assert config["model"]["spectral_norm"] is True
    assert config["model"]["hidden"] == [128, 64]


def test_both_forms_of_a_value_and_bare_flags():
    assert parse("--seed", "3", "--overwrite") == parse("--overwrite", "true", "--seed=3")
    assert parse("--model.spectral_norm", "--seed", "3")["model"]["spectral_norm"] is True


def test_trainer_options():
    config = parse("--trainer.precision=bf16-mixed", "--trainer.accumulate_grad_batches", "2")
    assert config["precision"] == "bf16-mixed"
    assert config["trainer"] == {"accumulate_grad_batches": 2}
    assert parse()["trainer"] == {}


@pytest.mark.parametrize(
    "words, message",
    [
        (["--model.lr=abc"], "--model.lr: expected a number above 0 or null; got 'abc'"),
        (["--model.lr", "-1"], "--model.lr: expected a number above 0 or null; got '-1'"),
        (["--model.n_critic=1.5"], "--model.n_critic: expected a whole number above 0; got '1.5'"),
        (
            ["--model.network=cov"],
            "--model.network: expected mlp, conv, resnet, fastgan, stylegan2 or recurrent or null; got 'cov'",
        ),
        (
            ["--augment=ae", "--augment.fraction=1.5"],
            "--augment.fraction: expected a number at least 0 and at most 1 or null; got '1.5'",
        ),
        (["--model.ema=1"], "--model.ema: expected a number at least 0 and below 1; got '1'"),
        (["--data.num_train=x"], "--data.num_train: expected a whole number above 0 or null; got 'x'"),
        (["--model.hidden=[1,a]"], "--model.hidden: expected null or a list, each a whole number above 0; got '[1,a]'"),
        (
            ["--model.latnet_dim=3"],
            "--model.latnet_dim: there is no such option here; did you mean '--model.latent_dim'?",
        ),
        (["--sed=3"], "--sed: there is no such option here; did you mean '--seed'?"),
        (["--model.noise=gaussian"], "--model.noise: there is no such option here"),
        (["--trainer.acumulate_grad_batches=2"], "did you mean '--trainer.accumulate_grad_batches'?"),
        (["--model"], "--model: expected a value; got none"),
        (["--data", "folder"], "--data.root: expected a value; got none"),
        (["--seed=3", "gan"], "expected --OPTION VALUE; got 'gan'"),
        (["--logger=tensorboard"], "--logger: expected wandb, csv or none; got 'tensorboard'"),
        (["--config=missing.yaml"], "--config: expected a file, got 'missing.yaml'"),
    ],
)
def test_wrong_arguments(words, message):
    with pytest.raises(ValueError) as error:
        parse(*words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_precedence_and_round_trip(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model: gan\nmodel.lr: 0.1\nmodel.hidden: [8, 4]\nsteps: 7\nfolder: 'somewhere'\n")
    config = parse("--steps=9", "--config", str(path))
    assert config["model"]["lr"] == 0.1
    assert config["model"]["hidden"] == [8, 4]
    assert config["steps"] == 9
    assert config["folder"] == "somewhere"
    path.write_text(yaml.safe_dump(config))
    assert parse("--config", str(path)) == config


@pytest.mark.parametrize(
    "file, words, steps, epochs",
    [
        ("steps: 7\nepochs: null", ["--epochs", "2"], None, 2),
        ("steps: 7\nepochs: null", ["--epochs=2"], None, 2),
        ("steps: null\nepochs: 3", ["--steps=9"], 9, None),
        ("steps: 7", ["--epochs", "null"], 7, None),  # nothing is asked for
        ("steps: 7\nepochs: null", ["--seed", "3"], 7, None),
        ("steps: 7", ["--steps", "9", "--epochs", "2"], 9, 2),  # count_steps says that it is one too many
    ],
)
def test_the_length_on_the_command_line_replaces_the_files(tmp_path, file, words, steps, epochs):
    path = tmp_path / "config.yaml"
    path.write_text(f"{file}\nseed: 5\n")
    config = parse("--config", str(path), *words)
    assert (config["steps"], config["epochs"]) == (steps, epochs)
    assert config["seed"] == (3 if "--seed" in words else 5)


@pytest.mark.parametrize(
    "words, value, rest",
    [
        (["RUN", "--num", "3"], False, ["RUN", "--num", "3"]),
        (["RUN", "--debug"], True, ["RUN"]),
        (["--debug", "RUN"], True, ["RUN"]),
        (["RUN", "--debug", "true", "--num", "3"], True, ["RUN", "--num", "3"]),
        (["RUN", "--debug", "False"], False, ["RUN"]),
        (["RUN", "--debug=true"], True, ["RUN"]),
        (["RUN", "--debug=false", "--debugger", "1"], False, ["RUN", "--debugger", "1"]),
    ],
)
def test_a_flag_with_and_without_a_value(words, value, rest):
    assert take_flag("--debug", words) == (value, rest)


def test_a_flag_with_a_wrong_value():
    with pytest.raises(ValueError, match="--debug: expected true or false; got 'maybe'"):
        take_flag("--debug", ["--debug=maybe"])


def test_another_model_leaves_the_files_options_of_the_first(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text("model: {name: gan, n_critic: 3}\n")
    config = parse("--config", str(path), "--model", "ae")
    assert config["model"]["name"] == "ae"
    assert "n_critic" not in config["model"]
    assert "--model ae replaces" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, message",
    [("model: {lrr: 1}", "--model.lrr"), ("[1, 2]", "expected options and values"), ("a: [", "is no YAML")],
)
def test_wrong_config_files(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        parse("--config", str(path))


def test_print_config_and_help(capsys):
    assert parse("--model=gan", "--seed=5", "--print_config") is None
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["seed"] == 5
    assert config["model"]["n_critic"] == 1
    assert parse("--model", "gan", "--help") is None
    text = capsys.readouterr().out
    assert "--model.n_critic" in text
    assert "batches that the critic learns from" in text
    assert "--model.image_shape" not in text
