"""The model file: one safetensors file that holds an architecture as JSON, named arrays, and a seal over both.

Layout (https://github.com/huggingface/safetensors): eight bytes for the length of the header, the header as JSON, the
arrays one after the other, little-endian in C order. The header's `__metadata__` holds `format_version`,
`cnn_ext_version`, `architecture` (JSON) and `sha256`: the sum of the whole file with that field's 64 digits taken
as zeros; it stands first, so that the seal is the first such run of digits in the file. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._checks import check_array
from ._files import open_regular, path_name, write_atomically
from ._types import Array
from ._version import __version__
from .errors import CheckpointCorruptError, CheckpointError, DTypeError, shown

FORMAT_VERSION = 1
DTYPE_NAMES: dict[np.dtype[Any], str] = {np.dtype("<f2"): "F16", np.dtype("<f4"): "F32", np.dtype("<f8"): "F64"}
METADATA_KEYS = {"architecture", "cnn_ext_version", "format_version", "sha256"}
UNSEALED = "0" * 64
# What a stranger's file may hold: a header becomes up to fifty times as large, tensors three times.
LARGEST_HEADER = 4 << 20
LARGEST_FILE = 4 << 30


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds: the architecture, the arrays by name, and the rest of the metadata."""

    architecture: dict[str, Any]
    tensors: dict[str, Array]
    metadata: dict[str, str]


def write_model(
    path: str | os.PathLike[str], architecture: dict[str, Any], tensors: dict[str, Array], storage_dtype: Any = None
) -> None:
    """Write a model to exactly `path`; the same model gives the same bytes.

    Parameters
    ----------
    path : path
    architecture : dict
        Anything JSON can hold.
    tensors : dict of str to ndarray
        float32 or float64, of any layout and byte order.
    storage_dtype : numpy dtype, optional
        float16: round every number to it, and halve the file; None: as they are.

    Raises
    ------
    DTypeError
        `architecture` is not a dict, a tensor no plain array of floats, `storage_dtype` neither float16 nor None.
    TypeError, ValueError
        The architecture is more than JSON can hold; a name is not printable text, or taken by the format; a finite
        number beyond the range of float16.
    OSError
        The file cannot be written; an earlier file at `path` is then as it was.
    """
    if not isinstance(architecture, dict):
        raise DTypeError(f"architecture must be a dict, got {type(architecture).__name__}")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not name.isprintable() or name == "__metadata__":
            raise ValueError(f"names in tensors must be printable text other than '__metadata__', got {name!r}")
        check_array(f"tensors[{name!r}]", tensor)
    if storage_dtype is not None:
        check_storage_dtype(storage_dtype)
    data, entries, offset = [], {}, 0
    for name, tensor in sorted(tensors.items()):
        stored = tensor if storage_dtype is None else _rounded_to_half(name, tensor)
        little = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<"))
        entries[name] = {
            "dtype": DTYPE_NAMES[little.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + little.nbytes],
        }
        data.append(little.tobytes())
        offset += little.nbytes
    metadata = {
        "sha256": UNSEALED,
        "architecture": json.dumps(architecture, allow_nan=False),
        "cnn_ext_version": __version__,
        "format_version": str(FORMAT_VERSION),
    }
    header = json.dumps({"__metadata__": metadata, **entries}).encode("ascii")
    header += b" " * (-len(header) % 8)  # so that the arrays are aligned
    if len(header) > LARGEST_HEADER:
        raise ValueError(f"architecture makes a header of {len(header)} bytes, more than {LARGEST_HEADER}")
    start = len(header).to_bytes(8, "little") + header
    if len(start) + offset > LARGEST_FILE:
        raise ValueError(f"tensors make a file of {len(start) + offset} bytes, more than {LARGEST_FILE}")
    seal = _sum_of(start, *data)
    write_atomically(path, [start.replace(UNSEALED.encode(), seal.encode(), 1), *data])


def check_storage_dtype(dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as float16, or raise DTypeError."""
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:  # NumPy parses text: "(2,3" is a SyntaxError
        raise DTypeError(f"storage_dtype must be float16 or None, got {dtype!r}") from error
    if found != np.float16:
        raise DTypeError(f"storage_dtype must be float16 or None, got {found}")
    return found


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file; whatever is wrong with it is found before it is used.

    Raises
    ------
    OSError
        The file cannot be opened or read.
    CheckpointCorruptError
        The file is damaged, or no safetensors file at all.
    CheckpointError
        A sound safetensors file that cnn_ext did not write, or that a newer cnn_ext wrote, or beyond LARGEST_FILE.
    """
    content, metadata = _read(path)
    start = 8 + int.from_bytes(content[:8], "little")
    ours = METADATA_KEYS & metadata.keys()
    if not ours:
        _entries_of(path, content)
        raise CheckpointError(f"{path}: a safetensors file, but not one that cnn_ext has written")
    if ours != METADATA_KEYS:
        raise CheckpointCorruptError(f"{path}: the metadata lacks {', '.join(sorted(METADATA_KEYS - ours))}")
    seal = metadata["sha256"]
    unsealed = content[:start].replace(seal.encode("ascii", "replace"), UNSEALED.encode(), 1)
    if _sum_of(unsealed, memoryview(content)[start:]) != seal:
        raise CheckpointCorruptError(f"{path}: the SHA-256 sum is not the one in the header: the file was altered")
    version = metadata["format_version"]
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: format version {shown(version)}, written by cnn_ext {shown(metadata['cnn_ext_version'])}; "
            f"this is cnn_ext {__version__}, which reads version {FORMAT_VERSION}: install cnn_ext >= "
            f"{shown(metadata['cnn_ext_version'])}"
        )
    try:
        architecture = parse_json(metadata["architecture"])
    except (ValueError, RecursionError) as error:
        raise CheckpointCorruptError(f"{path}: the architecture is not JSON: {shown(error)}") from error
    if not isinstance(architecture, dict):
        raise CheckpointCorruptError(f"{path}: the architecture is not a JSON object")
    return ModelFile(architecture, _tensors_of(path, content), metadata)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the arrays of anyone's safetensors file: floats, and the int64 that PyTorch counts batches in.

    Raises
    ------
    OSError
        The file cannot be opened or read.
    CheckpointCorruptError
        The file is damaged, or no safetensors file at all.
    CheckpointError
        An array of another dtype.
    """
    return _tensors_of(path, _read(path)[0], {**DTYPE_NAMES, np.dtype("<i8"): "I64"})


def _read(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, str]]:
    """Return the content and the metadata of a regular file whose size is what its header says.

    Read once from start to end, the header before memory is taken for the rest: what is judged is what is used, even
    if the file changes meanwhile.
    """
    with open_regular(path_name(path), CheckpointCorruptError) as (file, size):
        start = file.read(8)
        n = int.from_bytes(start, "little")
        if len(start) < 8 or n > size - 8 or n > LARGEST_HEADER:
            raise CheckpointCorruptError(
                f"{path}: not a safetensors file: it begins with {start!r}, and has {size} bytes"
            )
        header = file.read(n)
        metadata, declared = _parsed(path, header)
        if declared != size - 8 - n:
            raise CheckpointCorruptError(
                f"{path}: the header declares {declared} bytes of tensors, the file has {size - 8 - n}"
            )
        if size > LARGEST_FILE:
            raise CheckpointError(f"{path}: {size} bytes, more than {LARGEST_FILE}")
        return b"".join((start, header, file.read(declared))), metadata


def _parsed(path: Any, header: bytes) -> tuple[dict[str, str], int]:
    """Return the metadata, and how many bytes of tensors the header declares."""
    try:
        entries = parse_json(header.decode("utf-8"))
        metadata = entries.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("metadata that is not text")
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        if not all(type(end) is int and end >= 0 for end in ends):
            raise TypeError("offsets that are not sizes")
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise CheckpointCorruptError(f"{path}: the header is not that of a safetensors file: {shown(error)}") from error
    return metadata, max(ends, default=0)


def parse_json(text: str) -> Any:
    """Parse JSON, and refuse what its readers disagree on: keys given twice, NaN and numbers beyond a float."""
    return json.loads(text, object_pairs_hook=_distinct, parse_constant=_finite, parse_float=_finite)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key is given twice")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _entries_of(path: Any, content: bytes) -> list[tuple[str, dict[str, Any]]]:
    from safetensors import SafetensorError, deserialize  # checks offsets, overlaps, dtypes and sizes

    try:
        return deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise CheckpointCorruptError(f"{path}: {shown(error)}") from error


def _tensors_of(path: Any, content: bytes, names: dict[np.dtype[Any], str] = DTYPE_NAMES) -> dict[str, Array]:
    dtypes = {name: dtype for dtype, name in names.items()}
    tensors = {}
    for name, entry in _entries_of(path, content):
        if entry["dtype"] not in dtypes:
            *others, last = dtypes
            wanted = f"{', '.join(others)} or {last}"
            raise CheckpointError(f"{path}: tensor {shown(name)} has dtype {entry['dtype']}, {wanted} expected")
        try:
            little = np.frombuffer(entry["data"], dtypes[entry["dtype"]]).reshape(entry["shape"])
        except (ValueError, OverflowError) as error:  # more axes than an array can have; a huge axis beside one of 0
            raise CheckpointCorruptError(f"{path}: tensor {shown(name)}: {error}") from error
        tensors[name] = little.astype(little.dtype.newbyteorder("="), copy=False)
    return tensors


def _rounded_to_half(name: str, tensor: Array) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        half = tensor.astype(np.float16)
    beyond = np.isinf(half) & np.isfinite(tensor)
    if beyond.any():
        raise ValueError(f"{name} holds {tensor[beyond][0]}, beyond the range of float16, which ends at 65504")
    return half


def _sum_of(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
