"""Images as people have them: each is read as they see it, or refused by its name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules._read_image import colour_of, look, read
from datamodules.folder import FolderDataModule

GLYPH = np.zeros((6, 8), np.uint8)  # black ink, a bar on the left
GLYPH[:, :3] = 255


def png(path: Path, rows: np.ndarray, colour: int, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG of 16 bits a channel, which Pillow cannot write in colour; rows (H, W, C)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def pixels(path: Path, **options) -> np.ndarray:
    is_grey, _, size = look(path)
    image = read(path, "L" if is_grey else "RGB", **options)
    assert image.size == size  # what memory is set aside for
    return np.asarray(image)


def refusal(path: Path, **options) -> str:
    with pytest.raises((ValueError, OSError)) as info:
        pixels(path, **options)
    assert f"--data.root: '{path}'" in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "key"])
@pytest.mark.parametrize("ground, level", [("white", 255), ("black", 0)])
def test_transparency_is_laid_on_the_ground(tmp_path, mode, ground, level):
    """A dark grey glyph on transparent ground."""
    image = Image.merge("LA", [Image.new("L", (8, 6), 60), Image.fromarray(GLYPH)]).convert(
        mode if mode == "LA" else "RGBA"
    )
    options = {}
    if mode == "P":
        image = Image.fromarray((GLYPH > 0).astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 60, 60, 60])
        options = {"transparency": bytes([0, 255])}
    elif mode == "key":  # one value of a grey image stands for transparency
        image, options = Image.fromarray(np.where(GLYPH, 60, 7).astype(np.uint8)), {"transparency": 7}
    image.save(tmp_path / "x.png", **options)
    values = pixels(tmp_path / "x.png", ground=colour_of(ground))
    assert values.ndim == (2 if mode in ("LA", "key") else 3)
    assert (values.reshape(6, 8, -1) == np.where(GLYPH, 60, level)[..., None]).all()


def test_half_transparent_is_half_of_both(tmp_path):
    Image.new("RGBA", (4, 4), (200, 100, 0, 51)).save(tmp_path / "x.png")
    assert pixels(tmp_path / "x.png")[0, 0].tolist() == pytest.approx([244, 224, 204], abs=1)


def test_what_vanishes_on_the_ground_is_refused(tmp_path):
    Image.merge("LA", [Image.new("L", (8, 6), 255), Image.fromarray(GLYPH)]).save(tmp_path / "x.png")
    assert "shows nothing on white; expected --data.background black" in refusal(tmp_path / "x.png")
    assert set(pixels(tmp_path / "x.png", ground=(0, 0, 0)).flat) == {0, 255}
    Image.new("LA", (8, 6), (255, 0)).save(tmp_path / "x.png")  # empty it is
    assert (pixels(tmp_path / "x.png") == 255).all()


@pytest.mark.parametrize(
    "suffix, options", [("jpg", {}), ("png", {}), ("webp", {"lossless": True}), ("tif", {"compression": "tiff_lzw"})]
)
@pytest.mark.parametrize(
    "orientation, turn",
    [(1, np.asarray), (3, lambda x: x[::-1, ::-1]), (6, lambda x: x.T[:, ::-1]), (8, lambda x: x.T[::-1])],
)
def test_images_stand_upright(tmp_path, suffix, options, orientation, turn):
    exif = Image.Exif()
    exif[0x112] = orientation
    image = np.kron(np.arange(6).reshape(2, 3) * 40, np.ones((16, 16))).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / f"x.{suffix}", exif=exif, **options)
    values = pixels(tmp_path / f"x.{suffix}")
    values = values if values.ndim == 2 else values[..., 0]
    assert np.abs(values.astype(int) - turn(image)).max() < 12  # of JPEG


def test_a_tiff_on_its_side_that_pillow_spoils_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(GLYPH).save(tmp_path / "x.tif", exif=exif)
    try:
        values = pixels(tmp_path / "x.tif")
    except ValueError as error:
        assert f"--data.root: '{tmp_path / 'x.tif'}' is a TIFF that lies on its side" in str(error)
    else:
        assert (values == GLYPH.T[:, ::-1]).all()


def test_numbers_of_floating_point(tmp_path):
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert (pixels(tmp_path / "x.tif") == (values * 255).round()).all()
    for wrong in (values * 255, values - 0.1, np.full((6, 8), np.nan, np.float32)):
        Image.fromarray(wrong).save(tmp_path / "x.tif")
        assert "expected [0, 1] of an image of floating point numbers" in refusal(tmp_path / "x.tif")


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_in_16(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 48).astype(np.uint16).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert f"expected --data.bits {bits} if it uses so many" in refusal(tmp_path / "x.png")
    assert (pixels(tmp_path / "x.png", bits=bits) == (values * (255 / (2**bits - 1))).round()).all()
    assert (pixels(tmp_path / "x.png", bits=16) == (values / 257).round()).all()
    if bits > 8:
        assert f"expected 0 to {2 ** (bits - 2) - 1} of {bits - 2} bits" in refusal(tmp_path / "x.png", bits=bits - 2)
    colours = values[..., None].repeat(3, 2)
    assert "seems to use fewer" in refusal(png(tmp_path / "colour.png", colours, 2))


def test_16_bits(tmp_path):
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    for name in ("x.png", "x.tif", "x.pgm"):
        Image.fromarray(values).save(tmp_path / name)
        assert (pixels(tmp_path / name) == (values / 257).round()).all()
    colours = np.stack([values, values[::-1], values[:, ::-1]], 2)
    assert np.abs(pixels(png(tmp_path / "c.png", colours, 2)) - colours / 257).max() <= 1
    key = png(tmp_path / "k.png", values[..., None], 0, (b"tRNS", struct.pack(">H", values[2, 3])))
    expected = (values / 257).round()
    expected[2, 3] = 255
    assert (pixels(key) == expected).all()
    Image.fromarray(np.full((6, 8), 70_000, np.int32)).save(tmp_path / "x.tif")
    assert "holds numbers from 70000 to 70000; expected 0 to 65535" in refusal(tmp_path / "x.tif")


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_several_images_in_a_file_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(GLYPH // (i + 1)).convert("RGB") for i in range(3)]
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
    assert "holds 3 images; expected files of one" in refusal(tmp_path / f"x.{suffix}")
    frames[0].save(tmp_path / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert (pixels(tmp_path / f"x.{suffix}")[..., 0] == GLYPH).all()


def test_a_phones_picture_with_its_preview_is_one_image(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "x.jpg")[0, 0, 0] > 200


def test_what_is_no_image_is_named(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"")
    assert "is a broken image, or none" in refusal(path)
    Image.fromarray(GLYPH).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "unpacks to too many pixels; expected at most 20" in refusal(path)
    monkeypatch.undo()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "ppm", "webp"):
        path = tmp_path / f"x.{suffix}"
        noise.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "is a broken image, or none" in refusal(path)
    assert "cannot be read: No such file" in refusal(tmp_path / "gone.png")


def test_links_are_followed_and_what_is_skipped_is_named(tmp_path, caplog, monkeypatch):
    for name in ("elsewhere/cats", "pictures/dogs", "pictures/runs/run"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(15):
            Image.fromarray(GLYPH // (i + 1)).save(tmp_path / name / f"{i}.png")
    root = tmp_path / "pictures"
    (root / "runs/run/results.json").touch()
    (root / "cats").symlink_to(tmp_path / "elsewhere/cats")
    (root / "dogs/loop").symlink_to(root)
    (root / "dogs/nothing.png").symlink_to(tmp_path / "nothing.png")
    (root / "dogs/.hidden.png").touch()
    (root / "dogs/photo.heic").touch()
    data = FolderDataModule(root=str(root), batch_size=4)
    data.cache_dir = str(tmp_path / "cache")
    caplog.set_level("INFO")
    data.setup()
    assert data.dataset.num_classes == 2
    assert torch_counts(data) == [15, 15]
    assert "30 files of" in caplog.text and "5 skipped: " in caplog.text
    for name, why in (
        ("dogs/loop", "a link to a folder that is read already"),
        ("dogs/nothing.png", "a link to nothing"),
    ):
        assert f"'{name}' ({why})" in caplog.text
    for words in ("'dogs/.hidden.png' (hidden)", "'dogs/photo.heic' (another suffix)", "'runs/run' (of a run)"):
        assert words in caplog.text
    for i in range(3):
        (root / f"note{i}.txt").touch()
    data.load()
    assert "8 skipped: " in caplog.text and "and 3 more" in caplog.text


def torch_counts(data: FolderDataModule) -> list[int]:
    return (data.dataset.pool.labels.bincount() + data.dataset.heldout.labels.bincount()).tolist()


def test_packs_are_of_their_ground_and_leave_nothing_where_they_fail(tmp_path):
    def loaded(**options):
        data = FolderDataModule(root=str(tmp_path / "pictures"), batch_size=4, **options)
        data.cache_dir = str(tmp_path / "cache")
        data.setup()
        return data.dataset.train.images

    (tmp_path / "pictures").mkdir()
    for i in range(30):
        Image.merge("LA", [Image.new("L", (8, 6), i + 1), Image.fromarray(GLYPH)]).save(
            tmp_path / "pictures" / f"{i}.png"
        )
    assert loaded()[0, 0, 0, 7] == 255 and loaded(background="black")[0, 0, 0, 7] == 0
    packs = set((tmp_path / "cache").rglob("*.npy"))
    assert len(packs) == 2
    path = tmp_path / "pictures/7.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"7.png' is a broken image"):
        loaded()
    assert {path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock" and path.is_file()} == packs
    with pytest.raises(ValueError, match=r"--data.bits: expected 8 to 16 bits; got 7"):
        loaded(bits=7)


@pytest.mark.parametrize("depth", ["L", "I;16"])
def test_bits_that_no_image_has_are_said(tmp_path, caplog, depth):
    (tmp_path / "pictures").mkdir()
    for i in range(16):
        values = np.full((6, 8), 100 + i, np.uint8 if depth == "L" else np.uint16)
        Image.fromarray(values).save(tmp_path / "pictures" / f"{i}.png")
    data = FolderDataModule(root=str(tmp_path / "pictures"), bits=12, batch_size=2)
    data.cache_dir = str(tmp_path / "cache")
    data.load()
    said = "--data.bits has no effect: none of the images is grey with 16 bits" in caplog.text
    assert said == (depth == "L")
