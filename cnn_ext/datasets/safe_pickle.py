"""Pickles that hold arrays, read by an unpickler that can build nothing else.

Two rules make a stranger's file harmless. The opcodes are read first, against a list of those that plain data and
arrays need. And every name a pickle may ask for is answered by a stand-in of this file, never by the real object: the
stand-ins check what they are given and note it; arrays are made from those notes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from typing import Any, ClassVar

import numpy as np

from .._types import Array
from ..errors import DataFormatError, UnsafePickleError, shown

# What a pickle of tuples, lists, dicts, strings, ints and arrays is made of, in protocols 0 to 5.
ALLOWED_OPCODES = frozenset(
    """PROTO FRAME STOP MARK POP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD""".split()
)
MAX_OPCODES = 250_000
MAX_AXES = 32
ARRAY_CODE = re.compile(r"[<>|=]?[fiu][1248]")


class PickledArray:
    """An array as a pickle describes it: checked, but not yet made."""

    __slots__ = ("description",)

    def __init__(self) -> None:
        self.description: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.describe(shape, dtype, "F" if is_fortran else "C", raw)

    def describe(self, shape: Any, dtype: Any, order: str, raw: Any) -> None:
        # Python 2 wrote bytes as text, a byte a character.
        is_raw = isinstance(raw, (bytes, bytearray, str))
        if not isinstance(dtype, PickledDType) or not is_raw or order not in ("C", "F"):
            raise ValueError("an array of something other than numbers")
        if not isinstance(shape, tuple) or len(shape) > MAX_AXES or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array of an impossible shape")
        wanted = math.prod(shape) * dtype.dtype.itemsize
        if wanted != len(raw):
            raise ValueError(f"an array of shape {shape} and dtype {dtype.dtype} takes {wanted} bytes, got {len(raw)}")
        self.description = (raw, dtype.dtype, shape, order)

    def array(self) -> Array:
        """Return the array, sharing the memory of the pickle's bytes; text is encoded here, for what is asked for.

        Encoded while the pickle is read, one text named a thousand times would become a thousand copies.
        """
        if not self.description:
            raise ValueError("an array without content")
        raw, dtype, shape, order = self.description
        if isinstance(raw, str):
            raw = raw.encode("latin-1")
        array: Array = np.frombuffer(raw, dtype).reshape(shape, order=order)
        return array


class PickledDType:
    """The dtype of a pickled array: float, int or unsigned of 1 to 8 bytes."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or not ARRAY_CODE.fullmatch(code):
            raise ValueError("an array of something other than numbers")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        byte_order, rest = state[1], state[2:5]
        if byte_order not in ("<", ">", "|", "=") or any(part is not None for part in rest):
            raise ValueError("an array of a dtype that is not a plain number")
        self.dtype = self.dtype.newbyteorder(byte_order)


# Instances without attributes, not functions: a pickle may try to set attributes on what it got by name.
class _Reconstruct:
    __slots__ = ()

    def __call__(self, *_: Any) -> PickledArray:
        return PickledArray()


class _FromBuffer:
    __slots__ = ()

    def __call__(self, buffer: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> PickledArray:
        pickled = PickledArray()
        pickled.describe(shape, dtype, order, buffer)
        return pickled


class _DType:
    __slots__ = ()

    def __call__(self, code: Any, *_: Any) -> PickledDType:
        return PickledDType(code)


class _Encode:
    __slots__ = ()

    def __call__(self, text: Any, encoding: Any = None) -> str:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("text to be encoded as something other than Latin-1")
        return text  # encoded by the array that holds it


class _NoBytes:
    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


class _NdArray:
    __slots__ = ()


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NdArray(),
    ("numpy", "dtype"): _DType(),
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),  # NumPy 1 and Python 2
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),  # NumPy 2
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer(),  # protocol 5
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer(),
    ("_codecs", "encode"): _Encode(),  # how protocol 2 writes bytes
    ("__builtin__", "bytes"): _NoBytes(),  # and no bytes at all
}


_PythonUnpickler: Any = pickle._Unpickler


class _ArrayUnpickler(_PythonUnpickler):  # type: ignore[misc]
    """The unpickler written in Python: here, unlike in the compiled one, what becomes a key can be checked.

    A tuple of itself, twice in a row, sixty times over, is a few bytes; its hash would take longer than a life. Ints
    can be chosen so that all their hashes are the same, those of text cannot.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        return _stand_in(module, name)

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        _check_keys(self.stack[::2])
        super().load_setitems()

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    dispatch[pickle.DICT[0]] = load_dict


def _check_keys(keys: list[Any]) -> None:
    if not all(isinstance(key, (str, bytes)) for key in keys):
        raise ValueError("a dict with keys other than text")


def load_arrays(data: bytes, name: str) -> Any:
    """Read a pickle whose arrays come back as `PickledArray`; make them with `as_array`.

    Parameters
    ----------
    data : bytes
        The pickle, protocols 0 to 5; Python 2's strings are read as Latin-1.
    name : str
        What messages call it, usually the path.

    Raises
    ------
    UnsafePickleError
        It asks for an opcode or a name that arrays do not need.
    DataFormatError
        It is no pickle, is damaged, or describes impossible arrays.
    """
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if opcode.name not in ALLOWED_OPCODES:
                raise UnsafePickleError(f"{name}: opcode {opcode.name} at byte {position} is not for plain arrays")
            if opcode.name == "GLOBAL":
                _stand_in(*str(argument).split(" ", 1))
            if count > MAX_OPCODES or (opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > MAX_OPCODES):
                raise DataFormatError(f"{name}: a pickle of more than {MAX_OPCODES} steps")
        return _ArrayUnpickler(io.BytesIO(data), encoding="latin-1").load()
    except UnsafePickleError as error:
        raise error if str(error).startswith(name) else UnsafePickleError(f"{name}: {error}") from None
    except (DataFormatError, MemoryError):
        raise
    except Exception as error:  # damaged pickles fail in every way there is
        raise DataFormatError(f"{name}: not a sound pickle of arrays: {shown(error)}") from error


def as_array(value: Any, name: str, what: str) -> Array:
    """Return the array that `value`, part of a loaded pickle, stands for; lists of ints are taken too."""
    try:
        if isinstance(value, PickledArray):
            return value.array()
        if isinstance(value, list) and all(type(item) is int for item in value):
            return np.array(value, np.int64)
    except (ValueError, OverflowError) as error:
        raise DataFormatError(f"{name}: {what}: {shown(error)}") from error
    raise DataFormatError(f"{name}: {what} must be an array, got {type(value).__name__}")


def _stand_in(module: str, name: str) -> Any:
    try:
        return STAND_INS[module, name]
    except KeyError:
        raise UnsafePickleError(f"the pickle asks for {shown(f'{module}.{name}')}, which arrays do not need") from None
