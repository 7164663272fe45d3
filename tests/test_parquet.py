"""Pictures in Parquet files, as Hugging Face's hub has them: the same images, classes and errors as of a folder."""

import gc
import sys
import tempfile
from pathlib import Path

import datasets
import pytest
import torch

from datamodules import _parquet
from tests.test_datamodules import folder_data


@pytest.fixture
def rows(picture_folder) -> dict[str, list]:
    """The pictures of the folder, in the order of their sorted paths; classes by number, by name, and too few."""
    paths = sorted(picture_folder.rglob("*.png"))
    return {
        "image": [{"bytes": path.read_bytes(), "path": None} for path in paths],
        "label": ["abc".index(path.parent.name) for path in paths],
        "kind": [("old", "new")[int(path.stem) % 2] for path in paths],
        "one": ["x"] * len(paths),
    }


def parquet_of(rows: dict[str, list], path: Path, typed: bool = True) -> Path:
    """A file as `Dataset.to_parquet` writes it, with Hugging Face's types or without."""
    made = datasets.Dataset.from_dict(rows)
    if typed:
        made = made.cast_column("image", datasets.Image()).cast_column("label", datasets.ClassLabel(names=list("abc")))
    path.parent.mkdir(parents=True, exist_ok=True)
    made.to_parquet(str(path))
    return path


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_gives_what_its_folder_gives(rows, picture_folder, tmp_path, is_folder):
    """Also in two pieces in a folder named data, as on the hub."""
    if is_folder:
        for i, part in enumerate((slice(25), slice(25, None))):
            half = {name: values[part] for name, values in rows.items()}
            parquet_of(half, tmp_path / "hub" / "data" / f"train-{i:05}-of-00002.parquet")
        root = tmp_path / "hub"
    else:
        root = parquet_of(rows, tmp_path / "pictures.parquet")
    ours, theirs = (folder_data(one, tmp_path / "cache").dataset for one in (root, picture_folder))
    assert ours.num_classes == 3
    for split in ("train", "validation", "heldout"):
        assert torch.equal(getattr(ours, split).images, getattr(theirs, split).images)
        assert torch.equal(getattr(ours, split).labels, getattr(theirs, split).labels)


def test_classes_are_those_of_a_column(rows, tmp_path):
    """By default of the only column of the type ClassLabel; of any other by its name, sorted."""
    typed, untyped = (parquet_of(rows, tmp_path / f"{name}.parquet", name == "typed") for name in ("typed", "untyped"))
    assert folder_data(untyped, tmp_path / "cache").dataset.num_classes == 0
    dataset = folder_data(typed, tmp_path / "cache", label="kind").dataset
    numbers = {row["bytes"]: ("new", "old").index(kind) for row, kind in zip(rows["image"], rows["kind"])}
    assert dataset.num_classes == 2
    assert dataset.pool.labels.sum() + dataset.heldout.labels.sum() == sum(numbers.values())
    for label, message in (
        ("size", "expected one of the columns label, kind, one of '.*'; got size"),
        ("image", "expected one of the columns label, kind, one of '.*'; got image"),
        ("one", "expected two classes at least in column one; got x"),
    ):
        with pytest.raises(ValueError, match=f"^--data.label: {message}$"):
            folder_data(typed, tmp_path / "cache", label=label)
    rows["kind"][7] = None
    lacking = parquet_of(rows, tmp_path / "lacking.parquet")
    with pytest.raises(ValueError, match=r"^--data.label: expected a value of kind for each image; row 7 has none$"):
        folder_data(lacking, tmp_path / "cache", label="kind")


def test_what_lies_in_the_cache_is_not_read_again(rows, tmp_path, monkeypatch):
    """A file without statistics of its nulls would otherwise have its column of images read at every start."""
    path, checked = parquet_of(rows, tmp_path / "one.parquet"), []
    monkeypatch.setattr(_parquet, "_check_bytes", lambda *about: checked.append(about))
    first, again = (folder_data(path, tmp_path / "cache").dataset for _ in range(2))
    assert checked == [(str(path), "image")] and torch.equal(first.train.images, again.train.images)


def test_two_columns_of_classes_are_none_and_that_is_said(rows, tmp_path, caplog):
    path = parquet_of(rows, tmp_path / "typed.parquet")
    made = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "hf"))
    made.cast_column("kind", datasets.ClassLabel(names=["old", "new"])).to_parquet(str(path))
    assert folder_data(path, tmp_path / "cache").dataset.num_classes == 0
    assert "no classes are read: label and kind hold some; --data.label chooses one" in caplog.text
    assert folder_data(path, tmp_path / "cache", label="kind").dataset.num_classes == 2


def test_nothing_is_left_of_it_but_the_pack(rows, tmp_path, monkeypatch):
    """And a second start reads no picture."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = parquet_of(rows, tmp_path / "pictures.parquet")
    first = folder_data(path, tmp_path / "cache").dataset
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"images"}
    monkeypatch.delattr("datasets.Dataset.from_parquet")
    assert folder_data(path, tmp_path / "cache").dataset.fingerprint == first.fingerprint


def test_files_of_other_columns_are_named(rows, tmp_path):
    parquet_of(rows, tmp_path / "hub" / "a.parquet")
    del rows["one"]
    parquet_of(rows, tmp_path / "hub" / "b.parquet")
    with pytest.raises(
        ValueError, match=r"expected the columns of '.*a.parquet' in '.*b.parquet', .*; they differ in one"
    ):
        folder_data(tmp_path / "hub", tmp_path / "cache")


def test_files_that_number_other_classes_are_no_set(rows, tmp_path):
    """Read by the first file's names, every dog of the second one would be a cat."""
    parquet_of(rows, tmp_path / "hub" / "a.parquet")
    other = datasets.Dataset.from_parquet(str(tmp_path / "hub" / "a.parquet"), cache_dir=str(tmp_path / "hf"))
    named = datasets.ClassLabel(names=["c", "b", "a"])
    other.cast_column("label", named).to_parquet(str(tmp_path / "hub" / "b.parquet"))
    with pytest.raises(ValueError, match=r"with the same names of classes; they differ in label$"):
        folder_data(tmp_path / "hub", tmp_path / "cache")


def test_pictures_beside_it_are_not_read_and_that_is_said(rows, picture_folder, tmp_path, caplog):
    parquet_of(rows, picture_folder / "more.parquet")
    data = folder_data(picture_folder, tmp_path / "cache").dataset
    assert len(data.pool.images) + len(data.heldout.images) == 60
    assert "60 images beside the Parquet files in" in caplog.text


def test_metadata_beside_pictures_are_no_pictures(picture_folder, tmp_path):
    datasets.Dataset.from_dict({"file_name": ["a/0.png"]}).to_parquet(str(picture_folder / "metadata.parquet"))
    assert folder_data(picture_folder, tmp_path / "cache").dataset.num_classes == 3


def test_a_change_is_seen(rows, tmp_path):
    path = parquet_of(rows, tmp_path / "pictures.parquet")
    before = folder_data(path, tmp_path / "cache").dataset.pool.images[:].clone()
    rows["image"].reverse()
    parquet_of(rows, path)
    assert not torch.equal(folder_data(path, tmp_path / "cache").dataset.pool.images, before)


def test_what_cannot_be_read_is_named(rows, tmp_path, monkeypatch, capfd):
    def fails(path: Path, message: str) -> None:
        with pytest.raises((ValueError, OSError), match=rf"^--data.root: {message}"):
            folder_data(path, tmp_path / "cache")

    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    fails(tmp_path / "broken.parquet", "'.*broken.parquet' cannot be read as Parquet: ")
    assert capfd.readouterr().err == ""
    twice = {**rows, "mask": rows["image"]}
    fails(
        parquet_of(twice, tmp_path / "two.parquet"), "expected one column of images in '.*'; got image, mask of image"
    )
    numbers = tmp_path / "numbers.parquet"
    datasets.Dataset.from_dict({"x": [1.0] * 60}).to_parquet(str(numbers))
    fails(numbers, "expected one column of images in '.*'; got none of x")
    rows["image"][3] = {"bytes": rows["image"][3]["bytes"][:40], "path": None}
    fails(parquet_of(rows, tmp_path / "cut.parquet"), "'.*cut.parquet, row 3' is a broken image")
    rows["image"][3] = {"bytes": None, "path": "elsewhere.png"}
    away = parquet_of(rows, tmp_path / "away.parquet", typed=False)
    fails(
        away, "expected an image in every row of '.*away.parquet'; 1 of 60 hold its path alone, or nothing; write the"
    )
    rows["image"] = [{"bytes": None, "path": "elsewhere.png"}] * 60  # of which Parquet keeps no statistics
    fails(
        parquet_of(rows, tmp_path / "all.parquet", typed=False),
        "expected an image in every row of '.*all.parquet'; 60 of 60 ",
    )
    rows["image"] = [None, *rows["image"][1:]]
    fails(
        parquet_of(rows, tmp_path / "null.parquet", typed=False),
        "expected an image in every row of '.*null.parquet'; 60 of 60 ",
    )
    monkeypatch.setitem(sys.modules, "datasets", None)
    fails(tmp_path / "two.parquet", "'.*' holds Parquet files, for which the package datasets is needed; pip install")
