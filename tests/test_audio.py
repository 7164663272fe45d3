"""Sounds: files to windows, windows to waves and back, what measures them, their pictures."""

import os
import sys

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from datamodules.audio import SHIPPED, AudioDataModule
from lightning_genae.data.drawing.sounds import save_spectrograms, save_waves
from lightning_genae.data.mel import Mel
from lightning_genae.data.modalities.audio import spectral_convergence
from lightning_genae.data.modalities.series import Series
from lightning_genae.evaluation.extractors import _extractor
from lightning_genae.evaluation.extractors.moments import MomentFeatures
from lightning_genae.evaluation.fidelity import fidelity
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from tests.data import dataset_of

RATE = 16_000
WINDOW = 16_384


def tone(frequency: float, seconds: float = 1.2, rate: int = RATE, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def pitch(wave: np.ndarray, rate: int = RATE) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return spectrum.argmax() * rate / len(wave)


def write(path, wave, rate: int = RATE, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **options)


@pytest.fixture
def load(cache):
    """An audio data set of some options, set up."""

    def load(root=None, **options) -> AudioDataModule:
        datamodule = AudioDataModule(root=root and str(root), **{"batch_size": 2, **options})
        datamodule.cache_dir = str(cache)
        datamodule.setup()
        return datamodule

    return load


@pytest.fixture
def tones(tmp_path):
    """A folder of 20 tones in two classes, 1.2 s each, 200 to 2100 Hz."""
    for i in range(20):
        write(tmp_path / "tones" / "ab"[i % 2] / f"{i}.wav", tone(200 + 100 * i))
    return tmp_path / "tones"


def test_the_shipped_sounds(load):
    data = load()
    assert (data.dataset.modality.name, data.dataset.item_name) == ("audio", "sounds")
    assert data.dataset.num_classes == 6
    assert data.dataset.image_shape == (64, 1, 64)
    assert len(data.dataset.pool.images) >= 90
    assert len(data.dataset.heldout.images) >= 20
    for split in (data.dataset.train, data.dataset.heldout):
        assert split.labels.bincount(minlength=6).min() >= 2
        assert split.images.min() == -1 and split.images.max() <= 1
        assert (split.images > -1).flatten(1).any(1).all()  # none is silent
    paths = list(SHIPPED.rglob("*.flac"))
    assert sum(path.stat().st_size for path in paths) < 1_300_000
    named = (SHIPPED / "README.md").read_text()
    assert all(f"| {path.parent.name} | {path.stem} |" in named for path in paths)
    assert {(info.samplerate, info.channels) for info in map(soundfile.info, paths)} == {(RATE, 1)}


def test_there_and_back(load):
    """From frames to waves and to frames again; without phases and within bands something is lost."""
    data = load()
    frames = data.dataset.heldout.images[:12]
    waves = data.dataset.modality.inverse_transform(frames)
    assert waves.shape == (12, data.num_samples) and waves.dtype == np.float32
    assert np.abs(waves).max() <= 1
    again = torch.from_numpy(data.mel.encode(waves)).unsqueeze(2)
    error = 40 * (again - frames)  # in dB
    assert error.abs().mean() < 3
    assert error[frames > 0].abs().mean() < 3  # the loud ones, above -40 dB
    assert np.array_equal(
        waves[3:4], data.dataset.modality.inverse_transform(frames[3:4])
    )  # repeatable, alone or among others
    assert data.dataset.modality.inverse_transform(frames[:0]).shape == (0, data.num_samples)


def test_waves_are_as_in_the_files(load, tones):
    data = load(tones, form="wave", heldout=0.4)
    assert data.dataset.image_shape == (1, 1, WINDOW)
    waves = data.dataset.modality.inverse_transform(data.dataset.heldout.images)
    for wave, label in zip(waves, data.dataset.heldout.labels):
        frequency = round(pitch(wave) / 100) * 100
        original, _ = soundfile.read(tones / "ab"[label] / f"{frequency // 100 - 2}.wav", dtype="float32")
        assert np.array_equal(wave, original[:WINDOW])


@pytest.mark.parametrize("frequency", [220, 440, 1000, 3000, 6000])
def test_a_tone_keeps_its_pitch_and_loudness(frequency):
    mel = Mel(RATE, 64)
    wave = tone(frequency, 2)[None, :WINDOW]
    again = mel.decode(mel.encode(wave)[0])
    width = max(40, 0.05 * frequency)  # of a band
    assert pitch(again) == pytest.approx(frequency, abs=width)
    assert abs(10 * np.log10(np.square(again).mean() / np.square(wave).mean())) < 1.5  # dB


def test_the_limits_of_loudness():
    """A full sine has half the power of the loudest wave, -3 dB; a tenth of it 20 dB less; silence is the floor."""
    mel = Mel(RATE, 16)
    frequencies = np.linspace(0, RATE / 2, mel.bands.shape[1])
    centre = frequencies[mel.bands[4].argmax()]  # of a band, so that next to all of its power is in that one
    full, quiet, silent = mel.encode(np.stack([tone(centre, 2, amplitude=a)[:WINDOW] for a in (1, 0.1, 0)]))
    decibels = 40 * (full[4, 8:-8] - 1)
    assert decibels == pytest.approx(-3, abs=1)
    assert decibels - 40 * (quiet[4, 8:-8] - 1) == pytest.approx(20, abs=0.01)
    assert (silent == -1).all()
    assert np.abs(mel.decode(silent)).max() < 1e-6
    square = np.sign(tone(centre, 2)[None, :WINDOW])
    power = 10 ** (4 * (mel.encode(square) - 1))
    assert 0.9 < power.sum(1)[0, 8:-8].mean() <= 1.001  # all bands together are the loudest there can be


def test_mixed_rates_and_stereo(load, tmp_path, caplog):
    rates = [8000, 16_000, 22_050, 44_100, 48_000]
    for i, rate in enumerate(rates * 3):
        wave = tone(1000, rate=rate)
        write(tmp_path / "in" / f"{i}.flac", np.stack([wave, 0 * wave], 1), rate)
    with caplog.at_level("INFO"):
        data = load(tmp_path / "in", form="wave")
    assert data.dataset.num_classes == 0
    waves = data.dataset.modality.inverse_transform(torch.cat([data.dataset.pool.images, data.dataset.heldout.images]))
    assert waves.shape == (15, WINDOW)
    assert [pitch(wave) for wave in waves] == pytest.approx([1000] * 15, abs=2)
    assert np.abs(waves[:, 100:-100]).max(1) == pytest.approx([0.25] * 15, abs=0.01)  # the mean of both channels
    (line,) = (record.message for record in caplog.records if "WARNING" in record.message)
    assert "12 of 15 sounds have other sample rates (8000, 22050, 44100, 48000)" in line


def test_windows(load, tmp_path):
    """Padding, the end of a sound, silence, overlap."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * WINDOW)

    def num_windows(wave, **options):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        for i in range(24):
            write(folder / f"{i}.wav", wave, subtype="FLOAT")
        data = load(folder, form="wave", heldout=0.5, **options)
        return len(data.dataset.pool.images) / 12, data

    num, data = num_windows(noise[:1000])
    assert num == 1
    (wave,) = data.dataset.modality.inverse_transform(data.dataset.train.images[:1])
    assert wave[:1000] == pytest.approx(noise[:1000], abs=1e-6)
    assert (wave[1000:] == 0).all()
    assert num_windows(noise[: round(1.4 * WINDOW)])[0] == 1  # less than half a window is left
    assert num_windows(noise[: round(1.6 * WINDOW)])[0] == 2
    assert num_windows(np.concatenate([noise[:WINDOW], np.zeros(2 * WINDOW)]))[0] == 1
    assert num_windows(noise[: 2 * WINDOW], stride=0.512)[0] == 4
    assert num_windows(noise, seconds=2.048)[0] == 2
    assert num_windows(3 * noise[:WINDOW])[1].dataset.train.images.abs().max() == 1


def test_no_file_is_on_both_sides(load, tmp_path):
    for i in range(20):
        write(tmp_path / "in" / "xy"[i % 2] / f"{i}.wav", tone(200 + 100 * i, 5))
    data = load(tmp_path / "in", form="wave", stride=0.512)
    pitches = [
        [round(pitch(wave) / 100) for wave in data.dataset.modality.inverse_transform(split.images)]
        for split in (data.dataset.pool, data.dataset.heldout)
    ]
    assert not set(pitches[0]) & set(pitches[1])
    assert len(set(pitches[0]) | set(pitches[1])) == 20
    assert len(set(pitches[1])) == 4
    for split, found in zip((data.dataset.pool, data.dataset.heldout), pitches):
        assert [number % 2 for number in found] == split.labels.tolist()
    assert data.dataset.heldout.labels.bincount().tolist() == [len(data.dataset.heldout.labels) // 2] * 2  # stratified
    assert np.mean(np.diff(pitches[0]) == 0) < 0.3  # neighbours are of any files, and so are the first


def test_packs_once_and_sees_changes(load, tones, cache, monkeypatch):
    first = load(tones)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "librosa", None)  # reading a pack needs no library
        assert load(tones).dataset.train.fingerprint == first.dataset.train.fingerprint
    assert load(tones, num_mels=32).dataset.image_shape == (32, 1, 64)
    assert load(tones, sample_rate=8000).dataset.train.fingerprint != first.dataset.train.fingerprint
    write(tones / "a" / "0.wav", tone(5000))
    os.utime(tones / "a" / "0.wav", ns=(0, 0))
    again = load(tones)
    assert torch.cat([again.dataset.pool.images, again.dataset.heldout.images]).sum() != pytest.approx(
        float(torch.cat([first.dataset.pool.images, first.dataset.heldout.images]).sum()), abs=1e-3
    )
    for pack in (cache / "sounds").glob("*.npz"):
        pack.write_bytes(b"no pack")
    with pytest.raises(ValueError, match=r"--cache: '.*\.npz' is damaged; delete it"):
        load(tones)
    for pack in (cache / "sounds").glob("*.npz"):
        pack.unlink()


def test_broken_files(load, tones):
    odd = tones / "a" / "odd.flac"

    def error() -> str:
        with pytest.raises((ValueError, OSError)) as info:
            load(tones)
        assert "\n" not in str(info.value)
        return str(info.value)

    odd.write_text("not a sound")
    assert "--data.root" in error() and "odd.flac' is a broken sound" in error()
    write(odd, np.random.default_rng(0).uniform(-1, 1, RATE))
    odd.write_bytes(odd.read_bytes()[:9000])
    assert "odd.flac' is a broken sound" in error()
    odd.unlink()
    odd = odd.with_suffix(".wav")
    odd.write_bytes(b"")
    assert "odd.wav' is a broken sound" in error()
    write(odd, np.zeros(0))
    assert "odd.wav' is empty" in error()
    write(odd, np.zeros(RATE))
    assert "odd.wav' is silent" in error()
    write(odd, np.full(RATE, 1e-4))
    assert "odd.wav' is silent" in error()
    write(odd, np.full(RATE, np.nan), subtype="FLOAT")
    assert "odd.wav' holds samples that are not finite" in error()
    odd.rename(tones / "odd.wav")
    assert "expected every sound in a subfolder, its class" in error()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"root": " "}, r"--data.root: expected a folder of sounds, got an empty name"),
        ({"root": "nowhere"}, r"--data.root: expected a folder of sounds, got 'nowhere', which is none"),
        ({"root": "."}, r"--data.root: expected sounds \(.wav, .flac, .ogg, .mp3\) in '.', found none"),
        ({"sample_rate": 999}, r"--data.sample_rate: expected at least 1000 samples a second; got 999"),
        ({"seconds": 0.1}, r"--data.seconds: expected at least 0.128, 8 frames; got 0.1"),
        ({"stride": 2.0}, r"--data.stride: expected 0.016, a frame, to 1.024, a window; got 2"),
        ({"stride": 0.001}, r"--data.stride: expected 0.016"),
        ({"num_mels": 400}, r"--data.num_mels: expected fewer bands, since \d+ of 400 are narrower"),
        ({"heldout": 0.01}, r"--data.heldout: expected at least 2 sounds .*; got a fraction of 0.01 of 99 sounds"),
    ],
)
def test_wrong_options(load, options, message):
    with pytest.raises((ValueError, OSError), match=message):
        load(**options)


@pytest.mark.parametrize("library", ["librosa", "soundfile"])
def test_without_the_libraries(load, tones, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r'--data: audio needs .*; pip install -e "\.\[sequences\]"'):
        load(tones)


@pytest.mark.parametrize("form", ["mel", "wave"])
def test_moments_know_noise_and_pitch(load, form):
    """Real sounds are nearer to held-out ones than noisy or higher ones are, the more so the stronger the change."""
    data = load(form=form)
    extractor = _extractor.build(None, None, data.dataset)
    assert extractor.description["extractor"].startswith("moments")
    features = extractor(data.dataset.pool.images)
    assert features.std(0).mean() == pytest.approx(1, rel=1e-3)
    assert features.mean(0).abs().max() < 1e-3
    real = extractor(data.dataset.heldout.images)
    waves = load(form="wave").dataset.pool.images.flatten(1)

    def distance(waves: torch.Tensor) -> float:
        return frechet_distance(real, extractor(torch.from_numpy(data.modality.transform(waves.numpy()))))

    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    noisy = [distance((waves + strength * noise).clamp(-1, 1)) for strength in (0, 0.003, 0.03, 0.3)]
    assert noisy == sorted(noisy)
    assert noisy[1] > 1.1 * noisy[0]
    higher = [distance(waves[:, :: 2**i].repeat(1, 2**i)) for i in range(3)]
    assert higher == sorted(higher)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-3)


def test_moments_of_known_sequences():
    x = torch.stack([torch.linspace(-1, 1, 101).expand(3, 101), torch.zeros(3, 101)], 1).unsqueeze(2)
    x[:, 1] += torch.tensor([-0.5, 0, 0.5])[:, None, None]
    extractor = MomentFeatures(dataset_of(x, modality=Series()))
    # only one of the four features differs among sequences, by 0.5
    deviation = np.sqrt(101**2 - 1) / np.sqrt(12) * 2 / 100
    expected = torch.tensor([[0, value, 0, 0] for value in (-0.5, 0, 0.5)]) / (0.5 / 4)
    assert torch.allclose(extractor(x), expected, atol=1e-5)
    assert torch.allclose(extractor(2 * x[1:2])[0], torch.tensor([0, 0, deviation, 0]).float() / (0.5 / 4), atol=1e-5)
    assert extractor.num_features == 4


def test_a_tone_is_in_its_band(load):
    """Each frequency of a wave is in one band, but the constant, and higher ones are in higher bands."""
    bands = MomentFeatures(load(form="wave").dataset).network[0]
    assert bands.bands.sum(0).tolist() == [0, *[1] * 512]
    assert bands.bands.sum(1).min() >= 1
    waves = torch.stack([torch.from_numpy(tone(f, 2)[:WINDOW]) for f in (100, 500, 2000, 7000)]).float()
    loudest = bands(waves[:, None, None]).mean(2).argmax(1).tolist()
    frequencies = [round(f * 1024 / RATE) for f in (100, 500, 2000, 7000)]
    assert loudest == [int(bands.bands[:, f].argmax()) for f in frequencies]
    assert loudest == sorted(loudest)


@pytest.mark.parametrize("form", ["mel", "wave"])
def test_spectral_convergence(load, form):
    """Magnitudes that are smaller by a share have that share as their error; in dB they are lower by a constant."""
    data = load(form=form)
    x = data.dataset.heldout.images
    magnitudes = data.modality.magnitudes(x)
    assert magnitudes.ndim == 3 and magnitudes.min() >= 0
    assert spectral_convergence(magnitudes, 0.7 * magnitudes) == pytest.approx(np.full(len(x), 0.3), abs=1e-5)
    softer = 0.7 * x if form == "wave" else x + 20 * np.log10(0.7) / 40
    values = fidelity(x, softer, modality=data.modality)
    assert values["spectral_convergence"] == pytest.approx(0.3, abs=1e-4)
    assert fidelity(x, x, modality=data.modality)["spectral_convergence"] == 0
    assert "spectral_convergence" not in fidelity(x, x)


def test_frames_and_their_waves_have_like_magnitudes(load):
    """What the frames of a tone say of its magnitude is what the tone's spectrum says."""
    mel = Mel(RATE, 64)
    waves = tone(1000, 2)[None, :WINDOW].astype(np.float32)
    of_frames = mel.magnitudes(torch.from_numpy(mel.encode(waves)))
    of_wave = mel.magnitudes_of_waves(torch.from_numpy(waves))
    assert of_frames.square().sum(1)[0, 8:-8].mean() == pytest.approx(0.125, rel=0.02)  # 0.5 ** 2 / 2
    assert of_wave.square().sum(1)[0, 8:-8].mean() == pytest.approx(0.125, rel=0.02)


def test_files_of_waves_read_back(tmp_path):
    waves = np.random.default_rng(0).uniform(-1, 1, (3, 500)).astype(np.float32)
    waves[0, 0] = 1.5
    paths = save_waves(tmp_path / "new" / "sounds", waves, 8000, "sample")
    assert [path.name for path in paths] == ["sample-0.wav", "sample-1.wav", "sample-2.wav"]
    for path, wave in zip(paths, waves):
        again, rate = soundfile.read(path)
        assert rate == 8000
        assert soundfile.info(path).subtype == "PCM_16"
        assert again == pytest.approx(wave.clip(-1, 1), abs=1e-4)


def test_pictures_of_sounds(tmp_path):
    waves = np.stack([tone(frequency, 1) for frequency in (200, 400, 800, 1600, 3200)])
    path = save_spectrograms(tmp_path / "new" / "sounds.png", waves, RATE, [f"tone {i}" for i in range(5)])
    picture = np.asarray(Image.open(path).convert("L")).astype(int)
    assert picture.shape[1] > 1.5 * picture.shape[0]  # four beside each other, two below
    one = np.asarray(Image.open(save_spectrograms(tmp_path / "one.png", waves[:1], RATE)).convert("L"))
    higher = np.asarray(Image.open(save_spectrograms(tmp_path / "two.png", waves[3:4], RATE)).convert("L"))
    inside = np.s_[15:195, 60:270]

    def row(image):
        return image[inside].astype(float).mean(1).argmax()

    assert row(higher) < row(one) - 30  # a higher tone is further up
    save_spectrograms(tmp_path / "silent.png", 0 * waves[:1], RATE)
