"""A picture of one digit in MNIST's form: light ink on black, fitted into 20 x 20, its centre of mass in the middle.

How MNIST was made (LeCun et al. 1998, section III.A): each digit was scaled, its aspect kept, to fit into a box of 20 x
20 pixels, which made it grey at the edges, and moved so that its centre of mass lies in the middle of 28 x 28. Before
that a photo needs more: which tone is the paper, which the ink, and where the ink lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .images import Pixels, pillow

Grey = np.ndarray[Any, np.dtype[np.float32]]

SIDE, BOX_SIDE = 28, 20
MIDDLE = 14.5
"""Where MNIST's digits have their centre of mass, from the upper and the left edge: on average to 0.01 pixels."""
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
    longer = max(bottom - top, right - left)
    shape = tuple(max(round(BOX_SIDE * side / longer), 1) for side in (right - left, bottom - top))
    inked = Image.fromarray((255 * ink).astype(np.uint8))
    fitted = np.asarray(inked.resize(shape, Image.Resampling.BICUBIC, box=(left, top, right, bottom)), np.float32)
    digit = _centred(fitted * (255 / max(fitted.max(), 1.0)))
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


def _centred(fitted: np.ndarray[Any, np.dtype[np.float32]]) -> Pixels:
    """Return a field of 28 x 28 with the centre of mass of `fitted` in its middle, to the nearest pixel."""
    field = np.zeros((SIDE, SIDE), np.uint8)
    place = []
    for axis, size in enumerate(fitted.shape):
        mass = fitted.sum(axis=1 - axis)
        centre = float((mass * (np.arange(size) + 0.5)).sum() / mass.sum())
        place.append(min(max(round(MIDDLE - centre), 0), SIDE - size))
    (top, left), (height, width) = place, fitted.shape
    field[top : top + height, left : left + width] = np.rint(fitted)
    return field
