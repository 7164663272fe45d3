"""Series, text and sounds by the real command: what a run leaves behind, samples in their own units, wrong input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.timeseries import TimeSeriesDataModule

SHORT = ["--steps", "2", "--folder", "run"]
AUGMENT = ["--augment", "ae", "--augment.steps", "20"]
SMALL = {
    "timeseries": [],
    "text": ["--data.window", "16", "--data.num_train", "300", "--metrics.num_samples", "40"],
    "audio": ["--data.num_mels", "16", "--data.seconds", "0.256"],
}
METRICS = {
    "timeseries": {"fd", "mmd", "spectrum_distance", "autocorrelation_distance"}
    | {"discriminative_score", "predictive_score"},
    "text": {"fd", "perplexity", "self_bleu", "distinct_1", "known_words", "bits_per_character"},
    "audio": {"fd", "spectral_convergence", "spectrum_distance", "mmd"},
}


def results(folder: str = "run") -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def rows_of(path: str) -> list[dict]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("data", SMALL)
def test_the_main_command_and_samples(cli, data):
    network = ["--augment.autoencoder.network", "conv"] if data == "text" else []  # it changes a letter so soon
    status, out, error = cli("--model", "rnn_ae", "--data", data, *AUGMENT, *network, *SMALL[data], *SHORT)
    assert status == 0, error
    done = results()
    assert done["status"] == "finished"
    assert METRICS[data] <= set(done["metrics"])
    assert all(np.isfinite(value) for value in done["metrics"].values())
    noun = {"timeseries": "sequences", "text": "texts", "audio": "sounds"}[data]
    assert f"held-out {noun}, in the" in out and "images" not in out.replace("training images", "")
    for picture in ("samples/00000002", "reconstructions/00000002", "augmented/00000001", "metrics/nearest"):
        assert Path("run", f"{picture}.png").stat().st_size > 1000
        if data == "text":
            assert len(Path("run", f"{picture}.txt").read_text().splitlines()) >= 16
        if data == "audio":
            assert len(list(Path("run", picture).glob("*.wav"))) == 8
    assert cli("sample", "run", "--num", "9")[0] == 0
    check_samples(data)


def check_samples(data: str) -> None:
    """Nine samples in their own units."""
    if data == "timeseries":
        series = np.load("run/samples-seed0.npz")["sequences"]
        assert series.shape == (9, 24, 1)
        assert 10 < series.min() < series.max() < 40  # degrees Celsius
        rows = rows_of("run/samples-seed0.csv")
        assert [float(row["temperature in °C"]) for row in rows] == pytest.approx(series.flatten().tolist())
        again = TimeSeriesDataModule("run/samples-seed0.csv", batch_size=2)
        train, heldout, _ = again.load()
        assert len(train.images) + len(heldout.images) == 9
        assert again.modality.channels == ("temperature in °C",)
    elif data == "text":
        assert len(Path("run/samples-seed0.txt").read_text().splitlines()) == 9
    else:
        wave, rate = soundfile.read("run/samples-seed0/sample-8.wav")
        assert (rate, len(wave)) == (16_000, np.load("run/samples-seed0.npz")["sounds"].shape[1])


@pytest.mark.parametrize("data", ["text", pytest.param("audio", marks=pytest.mark.slow)])
def test_wandb_gets_texts_and_sounds(cli, data):
    words = ["--model", "ae", "--model.width", "4", "--data", data, *SMALL[data], *SHORT, "--logger", "wandb"]
    assert cli(*words)[0] == 0
    kinds = {"text": "table", "audio": "audio"}[data]
    (media,) = Path("run/wandb").glob("offline-run-*/files/media")
    assert {path.name.split("-")[0] for path in (media / kinds).iterdir()} >= {"samples", "reconstructions"}


def test_series_of_different_lengths(cli):
    """A CSV with a column that tells them apart: the model sees a mask, samples end where they end."""
    generator = np.random.default_rng(0)
    with Path("many.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "up", "down"])
        for who in range(120):
            for step in range(generator.integers(5, 15)):
                writer.writerow([who, 100 + step + generator.normal(), -step])
    data = ["--data", "timeseries", "--data.root", "many.csv", "--data.series", "who", "--data.batch_size", "16"]
    status, _, error = cli("--model", "rnn_ae", *data, "--augment", "classic", "--steps", "60", "--folder", "run")
    assert status == 0, error
    assert cli("sample", "run", "--num", "30")[0] == 0
    series = np.load("run/samples-seed0.npz")["sequences"]
    ends = np.isnan(series).any(2)
    assert series.shape[2] == 2 and ends.any() and not ends.all()
    assert (np.diff(ends.astype(int), axis=1) >= 0).all()  # nothing comes after an end
    assert len(rows_of("run/samples-seed0.csv")) == (~ends).sum()


def test_a_gan_of_sequences(cli):
    """TimeGAN's kind: recurrent players, with a penalty of the critic's gradient, and the autoencoder before it."""
    words = ["--model", "gan", "--model.network", "recurrent", "--model.width", "8", "--model.r1", "0.1"]
    assert cli(*words, "--data", "timeseries", *AUGMENT, "--augment.autoencoder.network", "recurrent", *SHORT)[0] == 0
    assert results()["augment"]["ae"]["on"] == "critic"
    words = ["--model", "gan", "--model.loss", "wgan-gp", "--data", "text", *SMALL["text"], "--overwrite"]
    assert cli(*words, "--augment", "ae", "--augment.steps", "20", *SHORT)[0] == 0


@pytest.mark.slow  # UMAP
def test_latents_of_sequences(cli):
    assert cli("--model", "vae", "--data", "timeseries", *SHORT)[0] == 0
    status, out, error = cli("evaluate", "run", "--metrics.features", "pixels")
    assert status == 0, error
    assert "Representation of held-out sequences" in out


def test_longer_series_are_cut_with_a_line(caplog):
    generator = np.random.default_rng(0)
    many = [generator.standard_normal((length, 1)) for length in [10] * 20 + [39] * 40]
    np.savez("many.npz", *many)
    datamodule = TimeSeriesDataModule("many.npz", window=20, stride=10, batch_size=16)
    with caplog.at_level("INFO"):
        datamodule.setup()
    assert "40 of 60 series are longer than --data.window 20: cut into windows" in caplog.text
    assert datamodule.dataset.modality.has_mask and datamodule.dataset.image_shape == (2, 1, 20)
    parts = datamodule.dataset.train, datamodule.dataset.validation, datamodule.dataset.heldout
    found = np.concatenate([datamodule.dataset.modality.inverse_transform(split.images) for split in parts])
    assert len(found) == 20 + 2 * 40  # two whole windows of 39 steps
    wanted = [np.pad(one, ((0, 10), (0, 0)), constant_values=np.nan) for one in many[:20]]
    wanted += [one[start : start + 20] for one in many[20:] for start in (0, 10)]
    as_sets = ({one.astype(np.float32).round(4).tobytes() for one in windows} for windows in (found, np.array(wanted)))
    assert len(set.intersection(*as_sets)) > 95  # rounding may fall either way
