"""A picture of one digit in MNIST's form: light ink on black, fitted into 20 x 20, its centre of mass in the middle.

How MNIST was made (LeCun et al. 1998, section III.A): each digit was scaled, its aspect kept, to fit into a box of 20 x
20 pixels, which made it grey at the edges, and moved so that its centre of mass lies in the middle of 28 x 28. Before
that a photo needs more: which tone is the paper, which the ink, and where the ink lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .images import Pixels, pillow

SIDE, BOX_SIDE = 28, 20
MIDDLE = 14.5
"""Where MNIST's digits have their centre of mass, from the upper and the left edge: on average to 0.01 pixels."""
LARGEST_SIDE = 512
"""A larger picture is scaled down before it is looked at: grain and specks fade, a digit is still large."""
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
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    paper = float(np.median(border))
    inverted = paper - grey.min() > grey.max() - paper
    ink = paper - grey if inverted else grey - paper
    contrast = float(ink.max())
    # Half of the border is nearer to the paper's tone than this: of a normal distribution, 0.6745 deviations.
    grain = float(np.median(np.abs(border - paper))) / 0.6745
    ink = np.clip((ink - NOISE * grain) / max(contrast - NOISE * grain, 1.0), 0, 1)
    if contrast - NOISE * grain < LEAST_CONTRAST:
        return np.zeros((1, SIDE, SIDE), np.uint8), ["no ink"]
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
