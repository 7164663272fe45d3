"""Set-ups of tests/bad_input.py: they make wrong files in the working folder, given a finished run's."""

import csv
import gzip
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml
from PIL import Image


def write(name: str, content: str | bytes) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def a_run(run: Path) -> None:
    shutil.copytree(run, "run")


def somebodys_folder(run: Path) -> None:
    write("somebodys/samples/mine.png", "")
    write("a_file", "")


def pictures(run: Path | None = None, num: int = 30) -> None:
    """Grey images of 9x9 in `pictures`."""
    Path("pictures").mkdir()
    for i in range(num):
        Image.fromarray(np.full((9, 9), 5 * i, np.uint8)).save(f"pictures/{i:02}.png")


def with_one(change: Callable[[], None]) -> Callable[[Path], None]:
    """A set-up of good pictures, to which `change` adds a wrong one; it has the name of `change`."""

    def files(run: Path) -> None:
        pictures()
        change()

    files.__name__ = change.__name__
    return files


def one_image(run: Path) -> None:
    pictures(num=1)


def empty_folder(run: Path) -> None:
    Path("pictures").mkdir()


def other_files(run: Path) -> None:
    write("pictures/notes.txt", "no image")


def eight_images(run: Path) -> None:
    pictures(num=8)


@with_one
def other_size() -> None:
    Image.new("L", (8, 9)).save("pictures/odd.png")


@with_one
def no_bytes() -> None:
    write("pictures/odd.png", "")


@with_one
def text_in_png() -> None:
    write("pictures/odd.png", "not a picture")


def cut_short(suffix: str) -> Callable[[Path], None]:
    def change() -> None:
        noise = np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8)
        Image.fromarray(noise).save(f"pictures/odd.{suffix}")
        content = Path(f"pictures/odd.{suffix}").read_bytes()
        write(f"pictures/odd.{suffix}", content[: len(content) * 3 // 4])

    change.__name__ = f"{suffix} cut short"
    return with_one(change)


@with_one
def bomb() -> None:
    write("pictures/odd.png", png_header(60_000, 60_000))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def several(suffix: str) -> Callable[[Path], None]:
    def change() -> None:
        frames = [Image.new("L", (9, 9), 40 * i) for i in range(3)]
        frames[0].save(f"pictures/odd.{suffix}", save_all=True, append_images=frames[1:])

    change.__name__ = f"{suffix} of three images"
    return with_one(change)


@with_one
def floats_of_255() -> None:
    Image.fromarray(np.full((9, 9), 200, np.float32)).save("pictures/odd.tif")


@with_one
def nan_tiff() -> None:
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save("pictures/odd.tif")


@with_one
def twelve_bits() -> None:
    Image.fromarray(np.arange(81, dtype=np.uint16).reshape(9, 9) * 50).save("pictures/odd.png")


@with_one
def numbers_of_32_bits() -> None:
    Image.fromarray(np.full((9, 9), 10**6, np.int32)).save("pictures/odd.tif")


@with_one
def white_glyph() -> None:
    ink = Image.fromarray(np.eye(9, dtype=np.uint8) * 255)
    Image.merge("LA", [Image.new("L", (9, 9), 255), ink]).save("pictures/odd.png")


@with_one
def in_a_class() -> None:
    write("pictures/a/x.png", Path("pictures/00.png").read_bytes())
    write("pictures/b/x.png", Path("pictures/00.png").read_bytes())


def damaged_pack(run: Path) -> None:
    """A pack of these pictures that holds something else."""
    pictures()
    from datamodules.folder import FolderDataModule

    data = FolderDataModule(root="pictures", batch_size=4)
    data.cache_dir = "cache"
    data.setup()
    (pack,) = Path("cache/images").glob("*.npy")
    pack.write_bytes(b"junk")


def idx(folder: str, label: int = 3, num: int = 40, size: int = 28) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split in ("train", "t10k"):
        images = np.zeros((num, size, size), np.uint8)
        labels = np.full(num, label, np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            write(f"{folder}/{split}-{kind}-ubyte", header + array.tobytes())


def label_out_of_range(run: Path) -> None:
    idx("idx", label=10)


def cut_idx(run: Path) -> None:
    idx("idx")
    write("idx/train-images-idx3-ubyte", Path("idx/train-images-idx3-ubyte").read_bytes()[:-1])


def lying_idx(run: Path) -> None:
    idx("idx")
    write("idx/train-images-idx3-ubyte", struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 2**31))


def missing_labels(run: Path) -> None:
    idx("idx")
    Path("idx/t10k-labels-idx1-ubyte").unlink()


def fewer_labels(run: Path) -> None:
    idx("idx")
    write("idx/train-labels-idx1-ubyte", struct.pack(">BBBBI", 0, 0, 8, 1, 9) + bytes(9))


def cut_gzip(run: Path) -> None:
    idx("idx")
    content = gzip.compress(Path("idx/train-images-idx3-ubyte").read_bytes())
    Path("idx/train-images-idx3-ubyte").unlink()
    write("idx/train-images-idx3-ubyte.gz", content[: len(content) // 2])


def cifar_of_other_bytes(run: Path) -> None:
    write("cifar/data_batch_1.bin", b"short")


def cifar_label(run: Path) -> None:
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        write(f"cifar/{name}.bin", (b"\x0b" + bytes(3072)) * 4)


def svhn_junk(run: Path) -> None:
    write("svhn/train_32x32.mat", b"no matrix")
    write("svhn/test_32x32.mat", b"no matrix")


ROWS = [f"{i},{i % 7},{i % 5}" for i in range(100)]


def table(name: str, line: str = "50,1,3", header: str = "time,a,b", encoding: str = "utf-8") -> Callable[[Path], None]:
    """A set-up of series.csv in which one line, the 52nd, is other than the rest."""

    def files(run: Path) -> None:
        write("series.csv", "\n".join([header, *ROWS[:50], line, *ROWS[51:]]).encode(encoding))

    files.__name__ = name
    return files


def file(name: str, content: str | bytes, words: str) -> Callable[[Path], None]:
    def files(run: Path) -> None:
        write(name, content)

    files.__name__ = words
    return files


def array(words: str, values: object, name: str = "series.npy") -> Callable[[Path], None]:
    def files(run: Path) -> None:
        made = values() if callable(values) else values
        np.save(name, np.asarray(made), allow_pickle=True)

    files.__name__ = words
    return files


def lying_npy(run: Path) -> None:
    np.save("series.npy", np.zeros(9))
    write("series.npy", Path("series.npy").read_bytes().replace(b"(9,), ", b"(10**12,), "[:6]))


def bomb_npz(run: Path) -> None:
    """An archive whose directory says that it unpacks to 4.29 GB."""
    np.savez("series.npz", np.zeros(9))
    content = bytearray(Path("series.npz").read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = b"\xfe\xff\xff\xff"
    write("series.npz", bytes(content))


def cut_npz(run: Path) -> None:
    np.savez("series.npz", np.zeros((99, 2)))
    write("series.npz", Path("series.npz").read_bytes()[:500])


def ragged_npz(run: Path) -> None:
    np.savez("series.npz", np.zeros((9, 2)), np.zeros((9, 3)))


def sounds(run: Path | None = None, odd: np.ndarray | None = None, rate: int = 16_000, **options) -> None:
    """Twelve tones in `sounds`, and an odd one."""
    Path("sounds").mkdir()
    for i in range(12):
        soundfile.write(f"sounds/{i:02}.wav", np.sin(np.arange(16_000) / (5 + i)), 16_000)
    if odd is not None:
        soundfile.write("sounds/odd.wav", odd, rate, **options)


def silent_wav(run: Path) -> None:
    sounds(odd=np.zeros(16_000))


def empty_wav(run: Path) -> None:
    sounds(odd=np.zeros(0))


def nan_wav(run: Path) -> None:
    sounds(odd=np.full(16_000, np.nan), subtype="FLOAT")


def slow_wav(run: Path) -> None:
    sounds(odd=np.ones(16_000), rate=10)


def cut_wav(run: Path) -> None:
    sounds()
    write("sounds/odd.wav", Path("sounds/00.wav").read_bytes()[:9000])


def zero_byte_wav(run: Path) -> None:
    sounds()
    write("sounds/odd.wav", "")


def cut_flac(run: Path) -> None:
    sounds()
    soundfile.write("sounds/odd.flac", np.sin(np.arange(16_000) / 5), 16_000)
    write("sounds/odd.flac", Path("sounds/odd.flac").read_bytes()[:2000])


def damaged(name: str, content: str | bytes = "[1, 2]") -> Callable[[Path], None]:
    """A set-up of a run of which a file holds something else, and which is not finished."""

    def files(run: Path) -> None:
        a_run(run)
        results = Path("run/results.json")
        results.write_text(results.read_text().replace('"finished"', '"running"'))
        Path("run/model.safetensors").unlink()  # which would do instead of a checkpoint
        write(f"run/{name}", content)

    files.__name__ = f"{Path(name).name} of {str(content)[:20]!r}"
    return files


def lacking(name: str) -> Callable[[Path], None]:
    def files(run: Path) -> None:
        a_run(run)
        Path("run", name).unlink()

    files.__name__ = f"no {Path(name).name}"
    return files


def config_of(words: str, **changes: object) -> Callable[[Path], None]:
    """A run whose config.yaml says other things."""

    def files(run: Path) -> None:
        a_run(run)
        config = yaml.safe_load(Path("run/config.yaml").read_text())
        for key, value in changes.items():
            section, _, option = key.partition("__")
            if option:
                config[section][option] = value
            else:
                config[section] = value
        Path("run/config.yaml").write_text(yaml.safe_dump(config))

    files.__name__ = words
    return files


def without_weights(run: Path) -> None:
    a_run(run)
    for path in (*Path("run/checkpoints").iterdir(), Path("run/model.safetensors")):
        path.unlink()


def checkpoint_of_tensors(run: Path) -> None:
    a_run(run)
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, "run/checkpoints/last.ckpt")


def cut_checkpoint(run: Path) -> None:
    a_run(run)
    Path("run/model.safetensors").unlink()
    path = Path("run/checkpoints/last.ckpt")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class Mark:
    """What a hostile checkpoint would do."""

    def __reduce__(self):
        return (Path("hacked").touch, ())


def hostile_checkpoint(run: Path) -> None:
    a_run(run)
    Path("run/model.safetensors").unlink()
    torch.save({"state_dict": Mark()}, "run/checkpoints/last.ckpt")


def weights_alone(run: Path) -> None:
    a_run(run)
    Path("run/results.json").unlink()
    shutil.rmtree("run/checkpoints")


def lost_config(run: Path) -> None:
    unfinished_run(run)
    Path("run/config.yaml").unlink()


def no_cache(run: Path) -> None:
    write("own/run/model.safetensors", b"years of work")


def unfinished_run(run: Path) -> None:
    a_run(run)
    results = Path("run/results.json")
    results.write_text(results.read_text().replace('"finished"', '"running"'))


def grid_of_damaged_json(run: Path) -> None:
    write("grid/ablation.json", '{"commands": [')


def grid_of_other_json(run: Path) -> None:
    write("grid/ablation.json", "[1]")


def full_disk(run: Path) -> None:
    """A file system of 16 kB, without room for more."""
    Path("full").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "full"], check=True, capture_output=True)
    write("full/filler", bytes(16_384))


def csv_of_long_cell(run: Path) -> None:
    with Path("series.csv").open("w", newline="") as target:
        csv.writer(target).writerows([["a", "b"], [1, 2], [3, "4" * 200_000]])
