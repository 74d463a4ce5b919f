"""One picture as bytes of pixels: any file that Pillow reads, brought to a wanted size and number of channels.

What a picture looks like on a screen is what comes out: turned as its camera says, the first frame of an animation,
transparent parts on white, 16 bits brought down to 8. Files are opened without trusting them: only regular ones, only
formats that need no other program, and no more pixels than `MAX_PIXELS`, which the header tells before any is decoded.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ._checks import check_int
from ._extras import missing_extra
from ._files import open_regular, path_name
from .errors import DataFormatError, ShapeError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")
"""Pillow's names of what is read; MPO is the JPEG of cameras that keep several pictures in one file."""
SUFFIXES = tuple(f".{name}" for name in "png jpg jpeg jpe jfif gif bmp webp tif tiff ppm pgm pbm pnm avif".split())
"""How the names of pictures in a folder end, in small letters."""
MAX_PIXELS = 1 << 27
"""The most pixels of a picture: a photo of 108 million passes, decoded it takes half a gigabyte at worst."""
MAX_SIDE = 4096
"""The most pixels along a side of what a picture is brought to."""
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
ORIENTATION = 0x0112  # the number of the EXIF tag


class PictureHeader(NamedTuple):
    """What a picture's header tells: its width and height before it is turned, and whether it is without colour."""

    width: int
    height: int
    grey: bool


@dataclass
class Picture:
    """A decoded picture: a Pillow image of mode L or RGB, its width and height in the file, and what was done to it."""

    image: Any
    size: tuple[int, int]
    changes: list[str] = field(default_factory=list)


def read_image(path: str | os.PathLike[str], size: int | tuple[int, int], channels: int = 3) -> Pixels:
    """Read one picture.

    The shorter side is brought to the wanted size, what is too much of the longer one is cut off at both ends alike.

    Parameters
    ----------
    path : path
    size : int or tuple of int
        Height and width, or one number for both.
    channels : {1, 3}
        Grey, or red, green and blue.

    Returns
    -------
    numpy.ndarray
        (channels, height, width), uint8.

    Raises
    ------
    OSError
        The file cannot be opened.
    DataFormatError
        Not a picture, a damaged one, or one of more than `MAX_PIXELS`; the message names the path.
    ImportError
        Pillow is missing.
    """
    height, width = check_size(size)
    check_channels(channels)
    with quiet():
        picture = read_picture(path, path_name(path), channels == 1, near=2 * max(height, width))
        return pixels(cover(picture.image, height, width))


def check_size(size: Any, name: str = "size") -> tuple[int, int]:
    """Return `size`, one int or (height, width), as a pair."""
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2:
        raise ShapeError(f"{name} must be an int or (height, width), got {size!r}")
    height, width = (check_int(name, side, 1, MAX_SIDE) for side in pair)
    return height, width


def check_channels(channels: Any, name: str = "channels") -> int:
    """Return `channels` if it is 1 or 3."""
    if check_int(name, channels, 1) not in (1, 3):
        raise ValueError(f"{name} must be 1 (grey) or 3 (colour), got {channels}")
    return int(channels)


def pillow() -> Any:
    """Return the module PIL.Image, its formats registered."""
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("reading pictures", "image", error) from error
    Image.init()
    return Image


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, Pillow's being about damage that it can read over; in all threads, see `warnings`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def picture_header(path: str | os.PathLike[str]) -> PictureHeader:
    """Return what the header of a picture tells; nothing is decoded. For the errors see `read_image`."""
    with _opened(path, path_name(path)) as image:
        return PictureHeader(image.size[0], image.size[1], _is_grey(image))


def read_picture(source: str | os.PathLike[str] | bytes, name: str, grey: bool, near: int | None = None) -> Picture:
    """Decode a picture from a file, or from its bytes.

    Parameters
    ----------
    source : path or bytes
    name : str
        What messages call it.
    grey : bool
        Whether it shall be of mode L rather than RGB.
    near : int, optional
        A JPEG much larger than this along both sides may be decoded at a half, a quarter or an eighth.
    """
    Image = pillow()
    with _opened(source, name) as image:
        picture = Picture(image, image.size)
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            picture.changes.append(f"first of {image.n_frames} frames")
        if near is not None:
            image.draft(None, (near, near))
        image.load()
        upright = _upright(Image, image)
        if upright is not image:
            picture.changes.append("turned upright")
        narrow = _eight_bits(Image, upright)
        opaque = _on_white(Image, narrow)
        if opaque is not narrow:
            picture.changes.append("laid on white")
        if grey and not _is_grey(image):
            picture.changes.append("made grey")
        picture.image = opaque.convert("L" if grey else "RGB")
    return picture


def cover(image: Any, height: int, width: int) -> Any:
    """Return the middle of a Pillow image, as much as the wanted shape allows, at the wanted size."""
    full_width, full_height = image.size
    scale = max(width / full_width, height / full_height)
    box_width, box_height = min(width / scale, full_width), min(height / scale, full_height)
    left, top = (full_width - box_width) / 2, (full_height - box_height) / 2
    box = (left, top, min(left + box_width, full_width), min(top + box_height, full_height))
    return image.resize((width, height), pillow().Resampling.BICUBIC, box=box)


def pixels(image: Any) -> Pixels:
    """Return a Pillow image of mode L or RGB as an array (channels, height, width)."""
    array = np.asarray(image, np.uint8)
    return np.ascontiguousarray(np.moveaxis(np.atleast_3d(array), 2, 0))


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[Any]:
    """Give the Pillow image of a source, its header read; what goes wrong inside is a DataFormatError with the name."""
    Image = pillow()
    given = nullcontext((io.BytesIO(source), 0)) if isinstance(source, bytes) else open_regular(source, DataFormatError)
    with given as (file, _):
        start = file.read(8)
        file.seek(0)
        if not start:
            raise DataFormatError(f"{name}: empty file")
        try:
            with Image.open(file, formats=[known for known in FORMATS if known in Image.OPEN]) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise DataFormatError(f"{name}: {width} x {height} pixels, more than the {MAX_PIXELS:,} allowed")
                yield image
        except (DataFormatError, MemoryError):
            raise
        except Image.UnidentifiedImageError as error:
            raise DataFormatError(f"{name}: not a picture (starts with {start!r})") from error
        except Image.DecompressionBombError as error:
            raise DataFormatError(f"{name}: more pixels than the {MAX_PIXELS:,} allowed: {error}") from error
        except Exception as error:  # damaged pictures fail in every way there is
            raise DataFormatError(f"{name}: cannot be read as a picture: {error}") from error


def _is_grey(image: Any) -> bool:
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES or image.mode.startswith("I;16")


def _upright(Image: Any, image: Any) -> Any:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged remarks beside a sound picture
        orientation = 1
    return image.transpose(turns[orientation]) if orientation in turns else image


def _eight_bits(Image: Any, image: Any) -> Any:
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers: save it with 8 or 16 bits a channel")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise ValueError(f"pixels from {low} to {high}: save it with 8 or 16 bits a channel")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_white(Image: Any, image: Any) -> Any:
    if image.mode not in ("LA", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    colours = image.convert("RGBA")
    if colours.getchannel("A").getextrema()[0] == 255:
        return image
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(colours)
    return white
