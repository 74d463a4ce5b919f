"""Many pictures as one array: their size and channels chosen, the broken ones named."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .._checks import check_choice
from .._types import Array
from ..errors import DataFormatError, released
from ..image_form import ImageForm
from ..images import SUFFIXES, check_channels, check_size, picture_header, pillow, quiet
from ..preparation import prepare
from ..threads import get_num_threads

LARGEST_DEFAULT = 64
"""The side that pictures are brought to, unless most are smaller or one is asked for."""
NAMED = 5
"""How many of the broken pictures a message names."""


def is_picture(name: str) -> bool:
    """Return whether the name of a file says that it is a picture."""
    return name.lower().endswith(SUFFIXES)


def walk_pictures(folder: str) -> Iterator[tuple[str, bool]]:
    """Give each file in a folder and the folders in it, by its path from there, and whether it is a picture by name.

    In the order of names; hidden files are passed over.

    Raises
    ------
    OSError
        A folder cannot be read.
    DataFormatError
        A link to a folder, which could lead anywhere, and in circles.
    """

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if is_visible(name))
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                raise DataFormatError(f"{os.path.join(place, name)}: a link to a folder, which is not followed here")
        for name in sorted(filter(is_visible, files)):
            yield os.path.relpath(os.path.join(place, name), folder), is_picture(name)


def is_visible(name: str) -> bool:
    """Return whether a file or folder is one that its owner knows of."""
    return not name.startswith(".") and name != "__MACOSX"


def read_pictures(
    paths: Sequence[str], size: Any = None, channels: Any = None, broken: str = "raise", preparation: str = "middle"
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int], ImageForm]:
    """Read pictures into one array.

    Parameters
    ----------
    paths : sequence of str
        At least one.
    size : int, (int, int) or None
        None: the median of the shorter sides, at most 64.
    channels : {1, 3} or None
        None: 1 if all pictures are grey, else 3.
    broken : {'raise', 'skip'}
        What comes of pictures that cannot be read.
    preparation : {'middle', 'digit'}
        How they are brought to their form; see `ImageForm`.

    Returns
    -------
    images : ndarray
        uint8, (N, channels, height, width).
    kept : list of int
        The index in `paths` of each image.
    form : ImageForm
    """
    from concurrent.futures import ThreadPoolExecutor  # not on import, like all that few need

    pillow()
    check_choice("broken", broken, ("raise", "skip"))
    shape = None if size is None else check_size(size)
    channels = None if channels is None else check_channels(channels)
    errors: dict[int, Exception] = {}
    with quiet(), ThreadPoolExecutor(get_num_threads()) as pool:
        if shape is None or channels is None:
            headers = list(pool.map(_noting(picture_header, errors), range(len(paths)), paths))
            known = [header for header in headers if header is not None]
            if not known:
                raise _unreadable(paths, errors)
            side = int(np.median([min(header.width, header.height) for header in known]))
            side = min(LARGEST_DEFAULT, side)
            shape = shape or (side, side)
            channels = channels or (1 if all(header.grey for header in known) else 3)
        form = ImageForm(channels, *shape, preparation)
        images = np.empty((len(paths), *form.shape), np.uint8)

        def read(path: str) -> Array:
            return prepare(path, path, form)[0]

        wanted = [index for index in range(len(paths)) if index not in errors]
        found = pool.map(_noting(read, errors), wanted, (paths[index] for index in wanted))
        kept: list[int] = []
        for index, image in zip(wanted, found):
            if image is not None:
                images[len(kept)] = image
                kept.append(index)
    if errors and (broken == "raise" or not kept):
        raise _unreadable(paths, errors) from errors[min(errors)]
    if errors:
        warnings.warn(f"left out: {_unreadable(paths, errors)}", RuntimeWarning, stacklevel=3)
    return images[: len(kept)], kept, form


def _noting(read: Callable[[str], Any], errors: dict[int, Exception]) -> Callable[[int, str], Any]:
    """Return `read` with its errors noted by index, and None in place of a result."""

    def noting(index: int, path: str) -> Any:
        try:
            return read(path)
        except (DataFormatError, OSError) as error:
            errors[index] = released(error)
            return None

    return noting


def _unreadable(paths: Sequence[str], errors: dict[int, Exception]) -> DataFormatError:
    named = [str(errors[index]) for index in sorted(errors)[:NAMED]]
    more = [f"and {len(errors) - NAMED} more"] if len(errors) > NAMED else []
    return DataFormatError(f"{len(errors)} of {len(paths)} pictures cannot be read: {'; '.join([*named, *more])}")
