"""Changes to a file that fuzzing tries: of its bytes, and of what it is made of, so that they get past its seals."""

from __future__ import annotations

import gzip
import json
import pickletools
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

from benchmarks.reliability._seeds import gzipped, reseal

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]

EDGES = [0, 1, 2, 4, 127, 128, 255, 256, 512, 1 << 15, (1 << 16) - 1, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
EDGES += [1 << 32, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
JSON_EDGES: list[Any] = [None, True, False, 0, -1, 1, 0.5, 1e308, -1e-320, "", "x", "\ud800", [], {}, [1, 1, 1], "1"]
JSON_EDGES += [2**31, 2**62, 2**63, 10**400, 10**4200, [10**9] * 3, [0, 2**63], {"a": [1]}, "float16", "float32"]
JSON_EDGES += ["float64", "F16", "F32", "F64", "I64", "BF16", "ReLU", "Flatten", "Conv", "BatchNorm", "GlobalAvgPool"]
PICKLE_PARTS = [bytes([code]) for code in b"(.012N]})aesutldRbQ\x81\x85\x86\x87\x88\x93\x94"]
PICKLE_PARTS += [b"q\x00", b"h\x00", b"h\x01", b"h\x02", b"p0\n", b"g0\n", b"r\xff\xff\xff\x7f", b"\x95" + bytes(8)]
PICKLE_PARTS += [b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cbuiltins\neval\n"]
PICKLE_PARTS += [b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy.core.numeric\n_frombuffer\n"]
PICKLE_PARTS += [b"\x8c\x05dtype", b"\x8c\x05numpy", b"X\x06\x00\x00\x00latin1", b"X\x02\x00\x00\x00f8", b"U\x02|O"]
PICKLE_PARTS += [
    b"K\x01",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"L" + b"9" * 30 + b"L\n",
    b"I01\n",
]
PICKLE_PARTS += [b"\x96\x04" + bytes(11), b"C\x04abcd", b"S'abc'\n", b"V\\u0100\n"]


def bytes_changed(random: Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change a few places without knowing what they mean."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(data) + 1)
        upto = min(len(data), at + random.choice((1, 2, 4, 8, 32, 512)))
        match random.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1 if at < len(data):
                data[at] = random.choice((0, 1, 10, 32, 127, 128, 255, random.randrange(256)))
            case 2:
                width = random.choice((1, 2, 4, 8))
                value = random.choice(EDGES) % (1 << 8 * width)
                data[at : at + width] = value.to_bytes(width, random.choice(("little", "big")))
            case 3:
                del data[at:upto]
            case 4:
                data[at:at] = data[at:upto] * random.choice((1, 1, 2, 40))
            case 5 if random.random() < 0.3:
                del data[at:]
            case 6:
                data[at:at] = random.randbytes(random.choice((1, 2, 4, 16)))
            case 7:
                other = random.choice(corpus)
                begin = random.randrange(len(other) + 1)
                data[at:upto] = other[begin : begin + random.choice((1, 4, 16, 64, 1024))]
            case 8:
                begin = random.randrange(len(data) + 1)
                data[at:upto] = data[begin : begin + upto - at]
    return bytes(data)


def gzip_changed(inner: Mutation) -> Mutation:
    """Change what is inside of gzip and pack it again; or now and then the packed bytes."""

    def change(random: Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
        if random.random() < 0.75:
            try:
                plain = gzip.decompress(content)
                return gzipped(inner(random, plain, [gzip.decompress(random.choice(corpus)), plain]))
            except (OSError, EOFError, zlib.error):
                pass
        return bytes_changed(random, content, corpus)

    return change


def model_changed(random: Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change bytes with and without a new seal, or the values of the header or of the architecture inside it."""
    if (choice := random.random()) < 0.2:
        return bytes_changed(random, content, corpus)
    if choice < 0.4:
        return reseal(bytes_changed(random, content, corpus))
    n = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + n])
        architecture = json.loads(header["__metadata__"]["architecture"])
        _change_json(random, architecture if choice < 0.8 else header)
        if choice < 0.8:
            header["__metadata__"]["architecture"] = json.dumps(architecture)
        text = json.dumps(header).encode()
    except (ValueError, TypeError, LookupError, RecursionError):
        return reseal(bytes_changed(random, content, corpus))
    return reseal(struct.pack("<Q", len(text)) + text + content[8 + n :])


def _change_json(random: Random, value: Any) -> None:
    """Set, drop, copy or nest a random entry, in place."""
    while isinstance(value, (dict, list)) and value:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = random.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key] and random.random() < 0.85:
            value = value[key]
            continue
        match random.randrange(8):
            case 0:
                del value[key]
            case 1 if isinstance(value, list):
                value.insert(random.randrange(len(value) + 1), value[key])
            case 1:
                value[random.choice(("x", "dtype", "type", "rng", "X_dim", "layers.0.W", "notes"))] = value[key]
            case 2:
                value[key] = value[random.choice(keys)]
            case 3:
                value[key] = [value[key]]
            case 4 if isinstance(value[key], int):
                value[key] += random.choice((-1, 1, 2))
            case _:
                value[key] = random.choice(JSON_EDGES)
        return


def pickle_changed(random: Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change bytes, or drop, copy, swap and insert whole opcodes."""
    if random.random() < 0.3:
        return bytes_changed(random, content, corpus)
    opcodes, others = _opcodes(content), _opcodes(random.choice(corpus))
    if not opcodes:
        return bytes_changed(random, content, corpus)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        at, source = random.randrange(len(opcodes) + 1), random.randrange(len(opcodes))
        match random.randrange(6):
            case 0:
                opcodes[at : at + 1] = []
            case 1:
                opcodes[at:at] = opcodes[source : source + random.choice((1, 2, 8))]
            case 2 if at < len(opcodes):
                opcodes[at], opcodes[source] = opcodes[source], opcodes[at]
            case 3 if others:
                begin = random.randrange(len(others))
                opcodes[at : at + random.choice((0, 1))] = others[begin : begin + random.choice((1, 4, 16))]
            case 4:
                opcodes[at:at] = [random.choice(PICKLE_PARTS)] * random.choice((1, 1, 1, 3, 50))
            case _:
                opcodes[source] = bytes_changed(random, opcodes[source], [content])
        opcodes = opcodes or [b"."]
    return b"".join(opcodes)


def _opcodes(content: bytes) -> list[bytes]:
    places: list[int] = []
    try:
        places.extend(position for _, _, position in pickletools.genops(content))
    except Exception:  # what cannot be read to its end is cut no further
        pass
    return [content[a:b] for a, b in pairwise([*places, len(content)])]


def tar_changed(inner: Mutation) -> Mutation:
    """Change a header and mend its sum, move whole blocks, or change a member's content."""

    def change(random: Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
        blocks = [bytearray(content[at : at + 512]) for at in range(0, len(content), 512)]
        headers = [at for at, block in enumerate(blocks) if block[257:262] == b"ustar"]
        if not headers or (choice := random.random()) < 0.15:
            return bytes_changed(random, content, corpus)
        at = random.choice(headers)
        if choice < 0.5:
            begin, size = random.choice(((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)))
            kind, size_field = random.choice(b"05LKxgS12"), b"%o\0" % random.choice(EDGES[:15])
            new = random.choice(
                (b"", b"7" * 12, b"-1", b"\x80" + b"\xff" * 11, b"\xff" * 12, size_field, bytes([kind]))
            )
            blocks[at][begin : begin + size] = new[:size].ljust(size, b"\0")
            blocks[at][148:156] = b" " * 8
            blocks[at][148:156] = b"%06o\0 " % (sum(blocks[at]) % (1 << 18))
        elif choice < 0.7:
            source = random.randrange(len(blocks))
            blocks[at : at + random.choice((0, 1))] = blocks[source : source + random.choice((1, 2, 20))]
        else:
            octal = re.match(rb"[0-7]*", blocks[at][124:135]).group()  # other mutations leave other bytes there
            size = int(octal or b"0", 8)
            body = b"".join(blocks[at + 1 : at + 1 + -(-size // 512)])[:size]
            new = inner(random, body, [body])
            blocks[at][124:136] = b"%011o\0" % len(new)
            blocks[at][148:156] = b" " * 8
            blocks[at][148:156] = b"%06o\0 " % sum(blocks[at])
            blocks[at + 1 : at + 1 + -(-size // 512)] = [bytearray(new + bytes(-len(new) % 512))]
        return b"".join(blocks)

    return change
