"""Every bit of a checkpoint flipped, one at a time, and the file cut short at every byte: refused, or the same state.

    python -m benchmarks.reliability.checkpoint_flips [--json FILE]

Each altered file lies in a folder once by itself, where no checkpoint must be found sound, and for every hundredth once
more beside the one before it, which must then be what a run would go on from.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import _timing
from benchmarks.reliability import _disks, _strace
from benchmarks.reliability._runs import require
from cnn_ext import Checkpoint, CheckpointCorruptError
from cnn_ext.model_file import ModelFile

EVERY = 100


def altered(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Give each alteration, and what it is."""
    for position, byte in enumerate(content):
        for bit in range(8):
            yield "flipped", content[:position] + bytes([byte ^ 1 << bit]) + content[position + 1 :]
    for length in range(len(content)):
        yield "cut short", content[:length]
    yield "longer", content + b"\0"


def same(a: ModelFile, b: ModelFile) -> bool:
    return (
        a.architecture == b.architecture
        and a.tensors.keys() == b.tensors.keys()
        and all(np.array_equal(array, b.tensors[name]) for name, array in a.tensors.items())
    )


def main() -> None:
    args = _timing.parser_of(__doc__).parse_args()
    began, counts = time.perf_counter(), {"bytes": 0, "flipped": 0, "cut short": 0, "longer": 0, "fallbacks": 0}
    refused, identical = 0, 0
    with _strace.temporary_folder() as name:
        older, newest = sorted(_disks.checkpoints_of_a_run(Path(name, "run")).items())
        alone, both = Path(name, "alone"), Path(name, "both")
        for folder, files in ((alone, [newest]), (both, [older, newest])):
            folder.mkdir()
            for file_name, content in files:
                (folder / file_name).write_bytes(content)
        whole = Checkpoint(alone).load()
        assert whole is not None
        counts["bytes"] = len(newest[1])
        for number, (what, content) in enumerate(altered(newest[1])):
            counts[what] += 1
            (alone / newest[0]).write_bytes(content)
            try:
                found = Checkpoint(alone).load()
            except CheckpointCorruptError:
                refused += 1
            else:
                require(found is not None and same(found, whole), f"another state was loaded: alteration {number}")
                identical += 1
            if number % EVERY == 0:
                (both / newest[0]).write_bytes(content)
                checkpoint = Checkpoint(both)
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    checkpoint.load()
                require(checkpoint.latest == both / older[0], "not the one before was loaded")
                text = str(caught[0].message)
                require(newest[0] in text and older[0] in text, "the warning does not name both")
                counts["fallbacks"] += 1
    figures = {**counts, "refused": refused, "identical": identical, "another state": 0}
    figures["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps(figures, indent=2))
    _timing.append_json(args.json, figures)


if __name__ == "__main__":
    main()
