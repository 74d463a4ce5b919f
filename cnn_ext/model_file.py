"""The model file: one safetensors file that holds an architecture as JSON, named arrays, and a seal over both.

Layout (https://github.com/huggingface/safetensors): eight bytes for the length of the header, the header as JSON, the
arrays one after the other, little-endian in C order. The header's `__metadata__` holds `format_version`,
`cnn_ext_version`, `architecture` (JSON) and `sha256`: the sum of the whole file with that field's 64 digits taken
as zeros. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._files import open_without_waiting, write_atomically
from ._version import __version__
from .errors import CheckpointCorruptError, CheckpointError
from .layers.base import Array

FORMAT_VERSION = 1
DTYPE_NAMES: dict[np.dtype[Any], str] = {np.dtype("<f4"): "F32", np.dtype("<f8"): "F64"}
METADATA_KEYS = {"architecture", "cnn_ext_version", "format_version", "sha256"}
UNSEALED = "0" * 64
LARGEST_HEADER = 16 << 20


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds: the architecture, the arrays by name, and the rest of the metadata."""

    architecture: dict[str, Any]
    tensors: dict[str, Array]
    metadata: dict[str, str]


def write_model(path: str | os.PathLike[str], architecture: dict[str, Any], tensors: dict[str, Array]) -> None:
    """Write a model to exactly `path`; the same model gives the same bytes.

    Parameters
    ----------
    path : path
    architecture : dict
        Anything JSON can hold.
    tensors : dict of str to ndarray
        float32 or float64.

    Raises
    ------
    OSError
        The file cannot be written; an earlier file at `path` is then as it was.
    """
    data, entries, offset = [], {}, 0
    for name, tensor in sorted(tensors.items()):
        little = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        entries[name] = {
            "dtype": DTYPE_NAMES[little.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + little.nbytes],
        }
        data.append(little.tobytes())
        offset += little.nbytes
    metadata = {
        "architecture": json.dumps(architecture, allow_nan=False),
        "cnn_ext_version": __version__,
        "format_version": str(FORMAT_VERSION),
        "sha256": UNSEALED,
    }
    header = json.dumps({"__metadata__": metadata, **entries}).encode("ascii")
    header += b" " * (-len(header) % 8)  # so that the arrays are aligned
    start = len(header).to_bytes(8, "little") + header
    seal = _sum_of(start, *data)
    write_atomically(path, [start.replace(UNSEALED.encode(), seal.encode(), 1), *data])


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file; whatever is wrong with it is found before it is used.

    Raises
    ------
    OSError
        The file cannot be opened or read.
    CheckpointCorruptError
        The file is damaged, or no safetensors file at all.
    CheckpointError
        A sound safetensors file that cnn_ext did not write, or that a newer cnn_ext wrote.
    """
    content = _read(path)
    n = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + n].decode("utf-8"))
        metadata = header["__metadata__"] if "__metadata__" in header else {}
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("metadata that is not text")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointCorruptError(f"{path}: the header is not that of a safetensors file: {error}") from error
    ours = METADATA_KEYS & metadata.keys()
    if not ours:
        _tensors_of(path, content)
        raise CheckpointError(f"{path}: a safetensors file, but not one that cnn_ext has written")
    if ours != METADATA_KEYS:
        raise CheckpointCorruptError(f"{path}: the metadata lacks {', '.join(sorted(METADATA_KEYS - ours))}")
    seal = metadata["sha256"].encode()
    unsealed = content[: 8 + n].replace(seal, UNSEALED.encode(), 1) if len(seal) == len(UNSEALED) else b""
    if _sum_of(unsealed, memoryview(content)[8 + n :]).encode() != seal:
        raise CheckpointCorruptError(f"{path}: the SHA-256 sum is not the one in the header: the file was altered")
    version = metadata["format_version"]
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: format version {version}, written by cnn_ext {metadata['cnn_ext_version']}; "
            f"this is cnn_ext {__version__}, which reads version {FORMAT_VERSION}: install cnn_ext >= "
            f"{metadata['cnn_ext_version']}"
        )
    try:
        architecture = json.loads(metadata["architecture"], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointCorruptError(f"{path}: the architecture is not JSON: {error}") from error
    if not isinstance(architecture, dict):
        raise CheckpointCorruptError(f"{path}: the architecture is not a JSON object")
    return ModelFile(architecture, _tensors_of(path, content), metadata)


def _read(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file whose header's length makes sense."""
    with open(path, "rb", opener=open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointCorruptError(f"{path}: not a regular file")
        start = file.read(8)
        n = int.from_bytes(start, "little")
        if len(start) < 8 or n > status.st_size - 8 or n > LARGEST_HEADER:
            raise CheckpointCorruptError(
                f"{path}: not a safetensors file: {status.st_size} bytes, of which the header would be {n}"
            )
        return start + file.read()


def _tensors_of(path: Any, content: bytes) -> dict[str, Array]:
    from safetensors import SafetensorError, deserialize  # checks offsets, overlaps, dtypes and sizes

    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise CheckpointCorruptError(f"{path}: {error}") from error
    dtypes = {name: dtype for dtype, name in DTYPE_NAMES.items()}
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in dtypes:
            raise CheckpointError(f"{path}: tensor {name!r} has dtype {entry['dtype']}, F32 or F64 expected")
        little = np.frombuffer(entry["data"], dtypes[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = little.astype(little.dtype.newbyteorder("="))
    return tensors


def _sum_of(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number JSON has")
