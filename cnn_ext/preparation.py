"""From a picture to what a network takes, as its form says; and what was done on the way, in words."""

from __future__ import annotations

import os

from .digits import digit_form
from .image_form import ImageForm
from .images import Pixels, cover, pixels, read_picture


def prepare(source: str | os.PathLike[str] | bytes, name: str, form: ImageForm) -> tuple[Pixels, list[str]]:
    """Return a picture, from a file or from its bytes, in the form `form`, and what was done to it.

    Parameters
    ----------
    source : path or bytes
    name : str
        What messages call it.
    form : ImageForm

    Returns
    -------
    image : ndarray
        uint8, (channels, height, width).
    changes : list of str
        "no ink" among them where a digit was to be found and none was.
    """
    if form.preparation == "digit":
        picture = read_picture(source, name, grey=True)
        image, changes = digit_form(picture.image)
        return image, picture.changes + changes
    picture = read_picture(source, name, form.channels == 1, near=2 * max(form.height, form.width))
    width, height = picture.size
    scale = max(form.width / picture.image.width, form.height / picture.image.height)
    cut = [side * scale - wanted > 0.5 for side, wanted in zip(picture.image.size, (form.width, form.height))]
    if any(cut):
        picture.changes.append(f"middle of {width} x {height}")
    if scale != 1:
        picture.changes.append(f"scaled to {form.width} x {form.height}")
    return pixels(cover(picture.image, form.height, form.width)), picture.changes
