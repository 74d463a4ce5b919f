"""One picture: every mode, orientation, alpha, animations, sizes; and files that are none, or not what they say."""

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest

from cnn_ext import DataFormatError, DTypeError, ShapeError
from cnn_ext.images import MAX_PIXELS, picture_header, quiet, read_image, read_picture

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def colours(rng):
    return rng.integers(0, 256, (20, 30, 3), np.uint8)


def planes(array):
    return np.moveaxis(np.atleast_3d(array), 2, 0)


def test_at_its_own_size_it_is_the_pixels(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a b ü.png")
    image = read_image(tmp_path / "a b ü.png", (20, 30))
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, planes(colours))
    grey = read_image(str(tmp_path / "a b ü.png"), (20, 30), channels=1)
    np.testing.assert_array_equal(grey, planes(np.asarray(Image.fromarray(colours).convert("L"))))


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (40, 40)])
def test_the_shorter_side_is_resized_and_the_middle_is_kept(shape, tmp_path):
    """Thirds of the longer side in three tones: only the middle one comes through a square."""
    tones = np.full(shape, 100, np.uint8)
    longer = int(np.argmax(shape))
    if shape[0] != shape[1]:
        index = [slice(None)] * 2
        for at, tone in ((slice(0, 20), 0), (slice(-20, None), 255)):
            index[longer] = at
            tones[tuple(index)] = tone
    Image.fromarray(tones).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png", 10, channels=1)
    assert image.shape == (1, 10, 10)
    inner = np.moveaxis(image[0], longer, 0)[1:-1]  # at the ends the neighbours shine in
    assert (inner == 100).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation, tmp_path, colours):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colours).save(tmp_path / "x.png", exif=exif)
    expected = {  # as the EXIF standard says where row 0 and column 0 of the file belong
        1: colours,
        2: colours[:, ::-1],
        3: colours[::-1, ::-1],
        4: colours[::-1],
        5: colours.transpose(1, 0, 2),
        6: colours[::-1].transpose(1, 0, 2),
        7: colours[::-1, ::-1].transpose(1, 0, 2),
        8: colours[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", expected.shape[:2]), planes(expected))


def test_alpha_lies_on_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 3] = [[0, 255], [51, 0]]
    Image.fromarray(pixels).save(tmp_path / "x.png")
    expected = [[255, 0], [204, 255]]
    for channels in (1, 3):
        np.testing.assert_array_equal(read_image(tmp_path / "x.png", 2, channels), [expected] * channels)
    assert read_picture(tmp_path / "x.png", "x", grey=True).changes == ["laid on white", "made grey"]
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "y.png")
    assert read_picture(tmp_path / "y.png", "y", grey=False).changes == []


def test_a_transparent_palette_and_a_transparent_tone(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / "p.png", (1, 2)), [[[255, 40]], [[255, 50]], [[255, 60]]])
    grey = Image.fromarray(np.array([[7, 8]], np.uint8))
    grey.save(tmp_path / "g.png", transparency=7)
    np.testing.assert_array_equal(read_image(tmp_path / "g.png", (1, 2), 1), [[[255, 8]]])


def test_sixteen_bits(tmp_path):
    wide = np.array([[0, 128, 129, 257 * 100], [65535, 65406, 65407, 257 * 200]], np.uint16)
    expected = [[[0, 0, 1, 100], [255, 254, 255, 200]]]
    for name in ("x.png", "x.tif"):
        Image.fromarray(wide).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name, (2, 4), 1), expected)
        assert picture_header(tmp_path / name) == (4, 2, True)


@pytest.mark.parametrize(("low", "dtype"), [(-1, np.int32), (70000, np.int32), (0.5, np.float32)])
def test_pixels_of_no_known_range(low, dtype, tmp_path):
    Image.fromarray(np.full((2, 2), low, dtype)).save(tmp_path / "x.tif")
    with pytest.raises(DataFormatError, match=r"x\.tif: .* save it with 8 or 16 bits a channel"):
        read_image(tmp_path / "x.tif", 2)


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_the_first_frame_of_an_animation(kind, tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / f"x.{kind}", save_all=True, append_images=frames[1:], lossless=True)
    picture = read_picture(tmp_path / f"x.{kind}", "x", grey=False)
    assert picture.changes == ["first of 2 frames"]
    np.testing.assert_array_equal(np.asarray(picture.image), np.full((8, 8, 3), (255, 0, 0)))


MODES = {"1": True, "L": True, "LA": True, "P": False, "RGB": False, "RGBA": False, "CMYK": False, "YCbCr": False}


@pytest.mark.parametrize("mode", MODES)
def test_what_is_grey_by_its_header(mode, tmp_path, colours):
    Image.fromarray(colours).convert(mode).save(tmp_path / "x.tif")
    assert picture_header(tmp_path / "x.tif") == (30, 20, MODES[mode])
    assert read_image(tmp_path / "x.tif", 5).shape == (3, 5, 5)


def test_a_palette_of_greys_is_grey(tmp_path):
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "x.gif")
    assert picture_header(tmp_path / "x.gif").grey


def test_a_large_jpeg_is_decoded_small_and_is_the_same_picture(tmp_path):
    x, y = np.meshgrid(np.linspace(0, 255, 1600), np.linspace(0, 255, 1200))
    Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8)).save(tmp_path / "x.jpg", quality=95)
    small = read_image(tmp_path / "x.jpg", 16).astype(int)
    whole = np.asarray(Image.open(tmp_path / "x.jpg").resize((16, 16), box=(200, 0, 1400, 1200))).astype(int)
    assert abs(small - planes(whole)).max() <= 4  # the two ways round in other places


def png(width, height, *chunks):
    """A PNG of any declared size; nothing behind the header but the chunks."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in chunks) + chunk(b"IEND", b"")


def encoded(kind, **options):
    file = io.BytesIO()
    Image.effect_noise((60, 60), 50).convert("RGB").save(file, kind, **options)
    return file.getvalue()


HOSTILE = {
    "nothing": (b"", "empty file"),
    "text": (b"hello", "not a picture (starts with b'hello')"),
    "a page": (b"<!DOCTYPE html><html>", "not a picture (starts with b'<!DOCTYP')"),
    "a program for Ghostscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    "a truncated PNG": (encoded("PNG")[:2000], "cannot be read as a picture"),
    "a truncated JPEG": (encoded("JPEG")[:1500], "cannot be read as a picture"),
    "half a header": (encoded("PNG")[:20], "as a picture"),
    "a bomb by its header": (png(20_000, 20_000), f"more pixels than the {MAX_PIXELS:,} allowed"),
    "a bomb that Pillow would take": (
        png(12_000, 12_000),
        f"12000 x 12000 pixels, more than the {MAX_PIXELS:,} allowed",
    ),
    "a bomb in its remarks": (png(2, 2, (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 27)))), "as a picture"),
    "a PNG without pixels": (png(2, 2), "cannot be read as a picture"),
    "a PNG of no width": (png(0, 5), "picture"),
    "a flipped bit": (encoded("PNG")[:500] + b"\xff" + encoded("PNG")[501:], "cannot be read as a picture"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files(what, tmp_path):
    data, message = HOSTILE[what]
    path = tmp_path / "x.png"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(DataFormatError) as caught, quiet():
            read_picture(source, str(path), grey=False)
        assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    with pytest.raises(DataFormatError):
        read_image(path, 8)


@pytest.mark.slow
def test_a_bomb_takes_no_memory():
    resource = pytest.importorskip("resource")
    del resource
    code = f"""
import resource, sys
from cnn_ext.images import read_picture
def refused(data):
    try:
        read_picture(data, "x", grey=False)
    except ValueError:
        return True
refused({png(2, 2)!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert refused({png(60_000, 60_000)!r}) and refused({png(11_600, 11_600)!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 20_000  # KB; the pixels would be 400 MB and more


def test_a_wrong_suffix_does_not_matter(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "x.jpg", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg", (20, 30)), planes(colours))


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "d.png").mkdir()
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path / "d.png", 8)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png", 8)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(DataFormatError, match=r"pipe\.png: not a regular file"):
            read_image(tmp_path / "pipe.png", 8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "size must be >= 1, got 0"),
        ((4097,), ValueError, "size must be <= 4096"),
        ((8.0,), DTypeError, "size must be an int, got float"),
        (((8, 8, 8),), ShapeError, r"size must be an int or \(height, width\)"),
        ((8, 2), ValueError, r"channels must be 1 \(grey\) or 3 \(colour\), got 2"),
        ((8, "3"), DTypeError, "channels must be an int, got str"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        read_image("x.png", *arguments)
    with pytest.raises(DTypeError, match=r"path must be a str or os\.PathLike, got int"):
        picture_header(3)


def test_pillow_s_warnings_stay_inside(tmp_path, monkeypatch, colours):
    Image.fromarray(colours).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # 600 are suspicious to Pillow, 1000 a bomb
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "x.png", 8).shape == (3, 8, 8)


@pytest.mark.slow
def test_without_pillow_one_line_says_what_to_do():
    code = "import sys; sys.modules['PIL'] = None; import cnn_ext.images; cnn_ext.images.read_image('x.png', 8)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: reading pictures needs Pillow (")
    assert last.endswith("): pip install 'cnn_ext[image]'")
