"""A picture of one digit in MNIST's form: light ink on black, fitted into 20 x 20, its centre of mass in the middle.

How MNIST was made (LeCun et al. 1998, section III.A): each digit was scaled, its aspect kept, to fit into a box of 20 x
20 pixels, which made it grey at the edges, and moved so that its centre of mass lies in the middle of 28 x 28. Before
that a photo needs more: which tone is the paper, which the ink, and where the ink lies.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._checks import check_array
from ._types import Array
from .errors import NonFiniteError, ShapeError
from .images import Pixels, pillow

Grey = np.ndarray[Any, np.dtype[np.float32]]

SIDE, BOX = 28, 20
LARGEST_SIDE = 512
"""A larger picture is scaled down before it is looked at: grain and specks fade, a digit is still large."""
LEAST_SIDE_WITH_SPECKS = 2 * SIDE
"""In a smaller picture a few pixels may be part of the digit; in a larger one they are dust."""
LEAST_CONTRAST = 24
"""Grey levels, of 255, between paper and ink, below which there is no ink."""
EDGE = 0.15
"""The share of full ink from which a pixel belongs to the digit."""
NOISE = 4.0
"""How many standard deviations of the paper's grain are taken for paper."""


def digit_form(image: Any) -> tuple[Pixels, list[str]]:
    """Bring a picture of one digit to MNIST's form.

    Parameters
    ----------
    image : PIL.Image.Image
        Of mode L.

    Returns
    -------
    digit : ndarray
        uint8, (1, 28, 28); black where there is no ink.
    changes : list of str
        What was done: "inverted" (the paper was the lighter one), and where the ink was; or "no ink".
    """
    Image = pillow()
    width, height = image.size
    scale = min(LARGEST_SIDE / max(width, height), 1.0)
    small = image.resize((max(round(width * scale), 1), max(round(height * scale), 1)), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    light, grain = _beyond_paper(grey)
    inverted = -light.min() > light.max()
    ink = np.maximum((-light if inverted else light) - NOISE * grain, 0)
    if max(grey.shape) > LEAST_SIDE_WITH_SPECKS:
        ink[_specks(ink > EDGE * ink.max())] = 0
    if ink.max() < LEAST_CONTRAST:
        return np.zeros((1, SIDE, SIDE), np.uint8), ["no ink"]
    ink /= ink.max()
    top, bottom = _extent((ink > EDGE).any(axis=1))
    left, right = _extent((ink > EDGE).any(axis=0))
    digit = np.rint(255 * centred_digit(ink[top:bottom, left:right])).astype(np.uint8)
    box = [round(value / scale) for value in (right - left, bottom - top, left, top)]
    where = f"ink of {box[0]} x {box[1]} at ({box[2]}, {box[3]}) in {width} x {height}"
    return digit[np.newaxis], [*(["inverted"] if inverted else []), where]


def _beyond_paper(grey: Grey) -> tuple[Grey, float]:
    """Return how much lighter each pixel is than the paper, and the standard deviation of the paper's grain.

    The paper's tone is a plane through the border: lamps and windows make one side darker than the other.
    """
    height, width = grey.shape
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    on_border = np.ones(grey.shape, bool)
    on_border[1:-1, 1:-1] = False
    places = np.stack([np.ones(on_border.sum(), np.float32), rows[on_border], columns[on_border]], axis=1)
    tones = grey[on_border]
    plane = np.array([np.median(tones), 0, 0], np.float32)
    distance = np.abs(tones - plane[0])
    near = distance <= max(3 * float(np.median(distance)), 1.0)  # without the ink that runs over the border
    if near.sum() >= 2 * len(places) / 3:
        plane = np.linalg.lstsq(places[near], tones[near], rcond=None)[0]
    # Half of the border is nearer to the paper's tone than this: of a normal distribution, 0.6745 deviations.
    grain = float(np.median(np.abs(tones - places @ plane))) / 0.6745
    return grey - (plane[0] + plane[1] * rows + plane[2] * columns), grain


def _specks(inked: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return where ink stands nearly alone: fewer than 5 of the 25 pixels around; a line one pixel wide has 5."""
    from PIL import ImageFilter

    mask = pillow().fromarray(inked.astype(np.uint8) * 250)
    return np.asarray(mask.filter(ImageFilter.BoxBlur(2))) < 45  # each pixel counts 10


def _extent(any_ink: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[int, int]:
    """Return the first index with ink, and the one behind the last."""
    (found,) = np.nonzero(any_ink)
    return int(found[0]), int(found[-1]) + 1


def centred_digit(grey: Array) -> Array:
    """Return a digit in the form in which MNIST has it.

    The rectangle around all ink is scaled, its proportions kept, so that its longer side is 20 pixels; the result is
    put so that its centre of mass is in pixel (14, 14) of 28 x 28, which is where MNIST has it. The brightest ink stays
    as bright as it was, so that thin strokes do not fade as they shrink. MNIST's own images come back as they are.

    Parameters
    ----------
    grey : array of float, shape (H, W)
        Bright ink on a ground of exactly 0; numbers in [0, 1].

    Returns
    -------
    ndarray, shape (28, 28), float32
        All zeros where there is no ink.

    Raises
    ------
    DTypeError, ShapeError
        Something other than a float32 or float64 array of two axes with at least one pixel.
    NonFiniteError
        NaN or infinity among the pixels.
    ValueError
        A pixel outside [0, 1].

    References
    ----------
    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, section III.A.
      Proc. IEEE 86(11), 1998.
    """
    grey = check_array("grey", grey, 2)
    if grey.size == 0:
        raise ShapeError(f"grey must hold at least one pixel, got shape {grey.shape}")
    if not np.isfinite(grey).all():
        raise NonFiniteError("grey holds NaN or infinity")
    if grey.min() < 0 or grey.max() > 1:
        raise ValueError(f"grey must be in [0, 1], got pixels from {grey.min()} to {grey.max()}")
    canvas = np.zeros((SIDE, SIDE), np.float32)
    brightest = float(grey.max())
    if brightest == 0:
        return canvas
    rows, columns = (slice(*_extent(grey.max(axis=axis) > 0)) for axis in (1, 0))
    ink: Array = grey[rows, columns].astype(np.float64) / brightest
    height, width = (max(1, round(BOX * side / max(ink.shape))) for side in ink.shape)
    small = _resampling(ink.shape[0], height) @ ink @ _resampling(ink.shape[1], width).T
    small *= brightest / small.max()
    top, left = _place(small, axis=1), _place(small, axis=0)
    canvas[top : top + height, left : left + width] = small
    return canvas


def _resampling(n_before: int, n_after: int) -> Array:
    """Return the matrix that resamples `n_before` pixels to `n_after`: linearly, over a wider span where it shrinks."""
    ratio = n_before / n_after
    centres = (np.arange(n_after) + 0.5) * ratio - 0.5
    distances = np.abs(centres[:, np.newaxis] - np.arange(n_before))
    weights = np.maximum(0.0, 1.0 - distances / max(ratio, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


def _place(small: Array, axis: int) -> int:
    """Return where the image begins along the other axis, for its centre of mass to be in pixel 14 of the canvas."""
    profile = small.sum(axis=axis)
    centre = float(profile @ (np.arange(len(profile)) + 0.5) / profile.sum())
    start = math.ceil(SIDE / 2 - centre - 1e-6)  # so that rounding does not move a symmetric digit
    return min(max(start, 0), SIDE - len(profile))
