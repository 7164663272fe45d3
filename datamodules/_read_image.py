"""Reads an image file as a viewer shows it: upright, transparency on a background, 8 bits. Refuses all others."""

from typing import Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from datamodules._sources import File

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
Mode = Literal["L", "RGB"]
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
# by content, not by suffix: for an EPS, Pillow would have Ghostscript run its program
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
GREY_16 = ("I", "I;16", "I;16B", "I;16L")  # Pillow's modes of grey images of 16 bits
GREY = ("1", "L", "LA", "F", *GREY_16)
FULL = 2**14  # of 16 bits: an image without brighter pixels may hold values of 14, 12 or 8 bits
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class Form(NamedTuple):
    """What a file's header says: whether the image is grey, and of 16 bits, and its size (width, height), upright."""

    is_grey: bool
    is_grey_16: bool
    size: tuple[int, int]


def colour_of(name: str) -> Colour:
    """The red, green and blue of a colour, 0 to 255 each; raises ValueError for what is none."""
    try:
        colour = ImageColor.getrgb(name)
        if len(colour) > 3 or max(colour) > 255:  # transparent, or none, which Pillow lets pass
            raise ValueError(name)
    except ValueError as error:
        raise ValueError(f"--data.background: expected a colour such as white or '#336699'; got '{name}'") from error
    return colour[:3]


def look(path: File) -> Form:
    """The form of an image, without reading its pixels.

    Raises:
        ValueError: the file is not an image, is broken or too large, or holds several images.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            # phones append previews to pictures, which Pillow calls MPO
            num_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            # for TIFF, Pillow returns the upright size
            is_turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
            size = image.size[::-1] if is_turned else image.size
            form = Form(image.mode in GREY, image.mode in GREY_16, size)
    except Exception as error:
        raise _named(path, error) from error
    if num_frames > 1:
        raise ValueError(f"--data.root: '{path}' holds {num_frames} images; expected files of one; split or remove it")
    return form


def read(path: File, mode: Mode, ground: Colour = WHITE, bits: int | None = None) -> Image.Image:
    """An image in a mode, upright.

    Args:
        path: of the file.
        mode: L for grey.
        ground: red, green and blue, 0 to 255, of what transparent pixels are laid on.
        bits: number of bits that a 16-bit grey image uses. None: all, and an image that seems to use fewer is refused.

    Raises:
        ValueError: the file is broken, or the range of its values is unknown.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            stored = [tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile]
            if isinstance(image, TiffImageFile) and image.mode in GREY_16:
                bits = min(image.tag_v2.get(258, (16,))[0], 16) if bits is None else bits
                bits = None if bits == 16 else bits
            size = image.size
            image.load()
            upright = ImageOps.exif_transpose(image)
    except Exception as error:
        raise _named(path, error) from error
    if image.format == "TIFF" and image.size != size:
        # Pillow 13 swaps rows and columns of uncompressed files before it rotates them
        raise ValueError(f"--data.root: '{path}' is a TIFF that lies on its side; expected it upright; save it turned")
    try:
        return _flat(_to_8_bits(upright, bits, any("16" in str(mode) for mode in stored)), ground).convert(mode)
    except ValueError as error:
        raise ValueError(f"--data.root: '{path}' {error}") from error


def _to_8_bits(image: Image.Image, bits: int | None, was_16: bool) -> Image.Image:
    """The image with 8 bits a channel, in a mode that Pillow converts correctly."""
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
            raise ValueError(
                f"holds numbers from {values.min():g} to {values.max():g}; expected [0, 1] of an image of floating "
                "point numbers; scale them"
            )
        return Image.fromarray((values.astype(np.float64) * 255).round().astype(np.uint8))
    if image.mode in GREY_16:
        return _scaled(image, bits)
    if was_16 and np.asarray(image)[..., :3].max() < FULL // 256:  # Pillow has left the lower 8 bits out
        raise ValueError(
            "holds 16 bits a channel and seems to use fewer; expected colours over the whole range; save it with 8 bits"
        )
    return image


def _scaled(image: Image.Image, bits: int | None) -> Image.Image:
    """A 16-bit grey image scaled to 8 bits; Pillow would clip it at 255."""
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if bits is None and 0 < high < FULL:
        likely = max(8, high.bit_length())
        raise ValueError(
            f"has 16 bits or more, and none of its values is above {high}; expected --data.bits {likely} if it uses so "
            "many, or --data.bits 16 if it is as dark as that"
        )
    largest = 2 ** (bits or 16) - 1
    if low < 0 or high > largest:
        raise ValueError(
            f"holds numbers from {low} to {high}; expected 0 to {largest} of {bits or 16} bits; scale them"
        )
    grey = Image.fromarray((values / (largest / 255)).round().astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _flat(image: Image.Image, ground: Colour) -> Image.Image:
    """The image without transparency."""
    if not image.has_transparency_data:
        return image
    layers = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layers.size, ground), layers).convert("RGB")
    alpha, colours = np.asarray(layers)[..., 3], np.asarray(flat)
    if alpha.min() < alpha.max() and (colours == colours[0, 0]).all():
        name = {WHITE: "white", (0, 0, 0): "black"}.get(ground, f"#{bytes(ground).hex()}")
        other = "black" if sum(ground) > 3 * 127 else "white"
        raise ValueError(f"shows nothing on {name}; expected --data.background {other} for what it holds")
    return flat


def _named(path: File, error: Exception) -> Exception:
    """An error that names the file; Pillow raises many types for damaged files."""
    if isinstance(error, OSError) and error.errno:
        return OSError(f"--data.root: '{path}' cannot be read: {error.strerror}")
    if isinstance(error, MemoryError):
        return MemoryError(f"--data.root: '{path}' takes more memory than there is")
    if isinstance(error, Image.DecompressionBombError):
        assert Image.MAX_IMAGE_PIXELS is not None  # else no image would be too large
        return ValueError(
            f"--data.root: '{path}' unpacks to too many pixels; expected at most {2 * Image.MAX_IMAGE_PIXELS:,}; "
            "make it smaller or remove it"
        )
    reason = "of no kind that is known" if isinstance(error, UnidentifiedImageError) else str(error)
    return ValueError(f"--data.root: '{path}' is a broken image, or none: {reason}; mend or remove it")
