"""Whatever is given, by hypothesis: it is read as it was written, or refused by its name; never a traceback."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import run
from datamodules import _read_image
from datamodules._read_series import LARGEST, check, read_csv
from datamodules._read_sound import read_sound

# the same examples always, and few; 1,500 each of images, colours, tables of numbers and sounds found no more
few = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PARTS = (["--model", "gan", "--augment", "ae", "--data", "folder"], ["--model", "rnn_ae", "--data", "timeseries"])


def options() -> list[tuple[list[str], str]]:
    """Every option of some parts."""
    return [
        (parts, action.option_strings[0])
        for parts in PARTS
        for action in run.COMMAND_LINE._parser(run.COMMAND_LINE.names(parts))._actions
        if action.option_strings and not action.option_strings[0].startswith("--trainer")
    ]


numbers = st.one_of(st.integers(), st.floats(), st.integers(-3, 3)).map(str)
odd = st.sampled_from(
    ["1_000", "010", "1e400", "-0", "true", "null", "[1,2]", "{}", "- 1", "a: b", "!!int 3", "&a [*a]"]
)
values = st.one_of(numbers, odd, st.text(st.characters(exclude_categories=["Cs"]), max_size=12))


def test_any_value_of_any_option_is_of_its_type_or_refused_in_a_line():
    known = options()
    plain = {str, int, float, bool, type(None), list, dict}

    @settings(few, max_examples=40)
    @given(st.sampled_from(known), values)
    def holds(option, value):
        parts, name = option
        words = [*parts, *([] if name == "--data.root" else ["--data.root", "x"]), f"{name}={value}"]
        try:
            config = run.COMMAND_LINE.parse(words)
        except ValueError as error:
            assert "\n" not in str(error) and str(error)
            return
        section, _, key = name.removeprefix("--").partition(".")
        got = config[section][key] if key else config[section]
        assert type(got) in plain
        if isinstance(got, float | int) and not isinstance(got, bool):
            assert math.isfinite(got) and float(value) == got and "_" not in value
        json.dumps(config)

    holds()


@few
@given(
    arrays.arrays(
        st.sampled_from(["uint8", "uint16", "bool", "float32"]),
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
    ),
    st.sampled_from(["png", "tif", "bmp", "gif", "ppm"]),
)
def test_any_grey_image_has_its_values(tmp_path, values, suffix):
    if suffix == "gif" and values.dtype.name in ("uint16", "float32"):
        return  # Pillow itself cuts these off at 255 as it writes
    path = tmp_path / f"x.{suffix}"
    try:
        Image.fromarray(values).save(path)
    except (OSError, ValueError, KeyError):  # Pillow does not write this
        return
    try:
        form = _read_image.look(path)
        read = np.asarray(_read_image.read(path, "L"))
    except ValueError as error:
        assert str(path) in str(error)
        lowest, highest = float(values.min()), float(values.max())
        assert (values.dtype != np.uint8 and values.dtype != bool and not 2**14 <= highest <= 65535) or suffix == "gif"
        assert values.dtype != np.float32 or not (lowest >= 0 and highest <= 1)
        return
    assert form.size == values.shape[::-1] and read.dtype == np.uint8
    scale = {"bool": 255, "float32": 255, "uint8": 1, "uint16": 1 / 257}[values.dtype.name]
    expected = (values.astype(float) * scale).round()
    assert np.abs(read - expected).max() <= 1e-9


@few
@given(
    arrays.arrays("uint8", st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4))),
    st.sampled_from(["png", "tif"]),
    st.sampled_from(["white", "black"]),
)
def test_any_colours_lie_on_the_ground(tmp_path, values, suffix, ground):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(values).save(path)
    alpha = values[..., 3:] / 255
    expected = values[..., :3] * alpha + (255 if ground == "white" else 0) * (1 - alpha)
    try:
        read = np.asarray(_read_image.read(path, "RGB", ground))
    except ValueError as error:
        assert "shows nothing on" in str(error) and np.ptp(expected.round(), axis=(0, 1)).max() <= 1
        return
    assert np.abs(read - expected).max() <= 1


@few
@given(st.integers(1, 4).flatmap(lambda num: st.lists(st.lists(st.floats(), min_size=num, max_size=num), min_size=2)))
def test_any_table_of_numbers_is_read_back(tmp_path, rows):
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (values,), names = read_csv(path, None, None)
    assert np.array_equal(values, np.array(rows), equal_nan=True)
    assert names == [str(i) for i in range(len(rows[0]))]
    if not (np.abs(values) <= LARGEST).all():
        with pytest.raises(ValueError, match=r"--data.root: expected"):
            check([values], str(path))


cells = st.one_of(numbers, odd, st.text("0123456789.,;e-+ _\"'\n\0aé\u0661", max_size=8))


@settings(few, max_examples=200)
@given(st.lists(st.lists(cells, min_size=1, max_size=3), max_size=4), st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_any_table_is_read_back_or_named(tmp_path, rows, encoding):
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding=encoding, errors="replace") as file:
        csv.writer(file).writerows(rows)
    try:
        many, _ = read_csv(path, None, None)
    except ValueError as error:
        assert str(path) in str(error)
        return
    (values,) = many
    written = [[cell.strip() for cell in row] for row in rows if row]
    table = written if len(written) == len(values) else written[1:]  # without a header
    expected = np.array([[float(cell or "nan") for cell in row] for row in table])
    assert np.array_equal(values, expected, equal_nan=True)


@settings(few, max_examples=100)
@given(st.binary(max_size=80), st.sampled_from(["csv", "png", "wav"]))
def test_any_junk_is_named(tmp_path, junk, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(junk)
    try:
        if suffix == "csv":
            many, _ = read_csv(path, None, None)
            check(many, str(path))
        elif suffix == "png":
            _read_image.look(path)
        else:
            read_sound(path, 16_000)
    except ValueError as error:
        assert str(path) in str(error)


WIDTHS = {"PCM_U8": 2**-6, "PCM_16": 2**-14, "PCM_24": 2**-22, "PCM_32": 2**-22, "FLOAT": 2**-22, "DOUBLE": 2**-22}


@few
@given(
    st.integers(1, 2_000_000),
    st.integers(1, 4).flatmap(
        lambda num: arrays.arrays(
            "float64", st.tuples(st.integers(0, 50), st.just(num)), elements=st.floats(-1.5, 1.5) | st.just(np.nan)
        )
    ),
    st.sampled_from(list(WIDTHS)),
    st.sampled_from(["wav", "flac"]),
)
def test_any_sound_has_its_length_and_values(tmp_path, rate, values, width, suffix):
    path = Path(tmp_path, f"x.{suffix}")
    try:
        soundfile.write(path, values, rate, subtype=width)
    except (soundfile.SoundFileError, ValueError, TypeError, AssertionError):  # FLAC has fewer widths and rates
        return
    try:
        wave, found = read_sound(path, rate)
    except ValueError as error:
        is_float = width in ("FLOAT", "DOUBLE")
        assert str(path) in str(error)
        assert not 1000 <= rate <= 1_000_000 or not len(values) or (is_float and np.isnan(values).any())
        return
    assert found == rate and wave.shape == (len(values),)
    if not np.isnan(values).any():
        clipped = values if width in ("FLOAT", "DOUBLE") else values.clip(-1, 1)
        assert np.abs(wave - clipped.mean(1).clip(-1, 1)).max() <= WIDTHS[width]
