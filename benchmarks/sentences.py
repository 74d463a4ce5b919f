"""Print what README.md and the pages of docs/ say of the logs in words.

    python -m benchmarks.sentences

tests/test_figures.py holds the pages to it.
"""

from __future__ import annotations

from typing import Any

from benchmarks.tables import fastest, records, states_of


def in_words() -> dict[str, list[str]]:
    """Return the sentences of each page."""
    return {page: sentences() for page, sentences in PAGES.items()}


def readme() -> list[str]:
    avx2 = [f"{states['under way']['ratio']:.2f}" for states in states_of("avx2/torch_step").values()]
    jax, keras = over_frameworks()
    (panel,) = records("panel")
    return [
        f"On two CPUs with AVX2 alone the ratios are {avx2[0]}, {avx2[1]} and {avx2[2]}.",
        f"Against JAX a step is {jax:.1f} times as fast, against Keras/TensorFlow {keras:.1f} times, against the "
        f"series' own code {records('series_step')[0]['ratio']:.1f} times; on twelve other networks "
        f"{panel['geometric_mean']:.2f} times as fast as PyTorch's, as a geometric mean, at the least "
        f"{min(of_panel().values()):.1f} times.",
    ]


def performance() -> list[str]:
    (roofline,), (hazards,), (footprint,) = records("roofline"), records("hazards"), records("footprint")
    late = step(50, 2)["under way"]["ms"]
    doubles = records("panel")[0]["networks"]["series, float64"]["ms"]["cnn_ext"]
    by_batch = {point["value"]: point["cnn_ext"] for point in records("growth")[0]["microseconds_an_image"]["batch"]}
    many = [microseconds for batch, microseconds in by_batch.items() if batch >= 16]
    return [
        f"PyTorch's step compiled takes {min(ms for name, ms in late.items() if 'compiled' in name):.1f} ms where its "
        f"eager one takes {fastest({name: ms for name, ms in late.items() if 'compiled' not in name}):.1f} ms "
        "(batch 50, 2 threads).",
        f"One thread reaches {roofline['peak'] / 1e9:.0f} GFLOP/s of multiply-adds.",
        f"layer 2 runs at {of_peak('layer 2 forward, fused')} of that forward (computed directly at "
        f"{of_peak('layer 2 forward, fused, directly')}), its way back at "
        f"{of_peak('layer 2 backward without pooling')} without pooling.",
        f"runs at {of_peak('layer 2 backward, 71% alive')} in the first steps (71 % alive) and "
        f"{of_peak('layer 2 backward, 23% alive')} under way (23 % alive)",
        f"the whole step at {of_peak('whole step, under way')}.",
        f"Two threads over one: {two_threads(50):.2f} at batch 50, {two_threads(256):.2f} at batch 256.",
        f"take {hazards['two_processes']:.2f} times as long a step; a convolution of denormal numbers takes "
        f"{hazards['denormals']:.2f} times as long as one of ordinary numbers.",
        f"needs {footprint['memory_mb']:.0f} MB, {footprint['beyond_data_mb']:.0f} MB beyond a process that holds the "
        f"data set; `import cnn_ext` takes {footprint['import_ms']:.0f} ms beyond NumPy's; the wheel is "
        f"{footprint['wheel_mb']:.2f} MB without MNIST",
        f"with 16 channels, a step takes {by_batch[1]:.0f} µs an image alone, and {min(many):.0f} to {max(many):.0f} "
        "from 16 images on.",
        f"float64 takes {doubles / step(50, 2)['first steps']['ms']['cnn_ext']:.1f} times as long a step.",
    ]


def comparison() -> list[str]:
    jax, keras = over_frameworks()
    ratios, size = of_panel(), {record["name"]: record["mb"] for record in records("install_size")}
    wide = [ratios[name] for name in ("VGG style, 28x28", "VGG style, 32x32x3", "64 to 128 channels")]
    less_exact = {
        (record["side"], record["result"]): record["tiles"] / record["directly"] for record in records("rounding")
    }
    forward = [less_exact.pop((side, "forward")) for side in (3, 5)]
    return [
        f"2 threads, theirs / ours | 1 | {step(50, 2)['under way']['ratio']:.2f} | {keras:.1f} on TensorFlow "
        f"({jax:.1f}: plain JAX) |",
        f"| on the disk, with all it brings | {size['cnn_ext']:.0f} MB:",
        f"| {size['PyTorch']:.0f} MB, for the CPU | {size['Keras on TensorFlow']:.0f} MB on TensorFlow for the CPU, "
        f"{size['Keras on JAX']:.0f} on JAX | {size['scikit-learn']:.0f} MB | {size['tinygrad']:.0f} MB, and Clang or "
        f"LLVM beside it to run on a CPU | {size['thinc']:.0f} MB |",
        f"a network with strides of 2 is {ratios['stride 2, 32x32x3']:.1f} times as fast, one of tanh "
        f"{ratios['tanh']:.1f} times, VGG-like ones and such of 64 to 128 channels {min(wide):.1f} to {max(wide):.1f} "
        "times",
        f"are {min(forward):.0f} to {max(forward):.0f} times less exact forward than by direct sums, the gradients up "
        f"to {max(less_exact.values()):.0f} times",
        f"Two threads are {two_threads(50):.2f} times as fast as one at batch 50, {two_threads(256):.2f} times at "
        "batch 256.",
    ]


def kernels() -> list[str]:
    small = [states for (batch, _), states in states_of("torch_step").items() if batch == 50]
    early, late = ([states[state]["ratio"] for states in small] for state in ("first steps", "under way"))
    return [
        *(rounding_row(result) for result in ("forward", "input's gradient", "weights' gradient")),
        f"behind pooling runs at {of_peak('layer 2 backward, 23% alive')} (under way) to "
        f"{of_peak('layer 2 backward, 100% alive')} (all gradients alive) of the peak of multiply-adds",
        f"a step of batch 50 is {min(early):.1f} to {max(early):.1f} times as fast as PyTorch's",
        f"under way {min(late):.1f} to {max(late):.1f} times.",
        f"Two threads over one: {two_threads(50):.2f} at batch 50 and {two_threads(256):.2f} at batch 256",
    ]


def speed() -> list[str]:
    (series,) = records("series_step")
    return [
        f"(batch 50) takes {series['ms']['series']:.0f} ms by the series' own code and {series['ms']['cnn_ext']:.1f} "
        "ms here.",
        f"Two threads are {two_threads(50):.2f} times as fast as one at batch 50, {two_threads(256):.2f} at batch 256.",
    ]


def reliability() -> list[str]:
    by_parts, direct = records("reliability/checkpoint_cost")
    series, best = (by_parts[name]["per_cent"] for name in ("series", "best"))
    (kills,), (flips,) = records("reliability/kills"), records("reliability/checkpoint_flips")
    written = kills["killed while a checkpoint was written"]
    return [
        f"series {series:.2f} %, `best` {best:.2f} %; directly, {direct['direct']['per_cent']:.1f} %",
        f"{kills['runs']} runs, {kills['kills']} kills, no end that differs",
        f"killed at the start {kills['killed at the start']}, in or between steps "
        f"{kills['killed between or in steps']}, in an evaluation {kills['killed in an evaluation']}, at the end "
        f"{kills['killed at the end']}, while a checkpoint was written {written} times",
        f"{kills['newest damaged']} of the kills above were followed by damage",
        f"{flips['bytes']:,} bytes: {flips['flipped']:,} flips and {flips['cut short']:,} cuts, all refused; "
        f"{flips['fallbacks']} fallbacks",
    ]


PAGES = {
    "README.md": readme,
    "docs/performance.md": performance,
    "docs/comparison.md": comparison,
    "docs/kernels.md": kernels,
    "docs/series/speed.md": speed,
    "docs/reliability.md": reliability,
}


def step(batch: int, threads: int) -> dict[str, Any]:
    """Return the first steps and those under way, of PyTorch and of ours."""
    return states_of("torch_step")[batch, threads]


def of_panel() -> dict[str, float]:
    """Return how many times as fast as PyTorch each other network is."""
    return {name: network["ratio"] for name, network in records("panel")[0]["networks"].items()}


def over_frameworks() -> tuple[float, float]:
    """Return how many times as fast as in JAX, and in Keras on TensorFlow, a step is."""
    ms = records("frameworks")[0]["ms"]
    return ms["JAX"] / ms["cnn_ext"], ms["Keras/TensorFlow"] / ms["cnn_ext"]


def of_peak(kernel: str) -> str:
    """Return the share of the multiply-adds' peak that a kernel reaches."""
    share = next(entry["share_of_peak"] for entry in records("roofline")[0]["kernels"] if entry["name"] == kernel)
    return f"{100 * share:.0f} %"


def two_threads(batch: int) -> float:
    """Return how many times as fast two threads are as one."""
    return next(record["ratio"] for record in records("threads") if record["batch"] == batch)


def rounding_row(result: str) -> str:
    """Return the errors of a result: by tiles and directly, for both sizes of filters."""
    rows = [record for record in records("rounding") if record["result"] == result]
    errors = [row[way] for row in sorted(rows, key=lambda row: row["side"]) for way in ("tiles", "directly")]
    return " ".join([result, *(f"{error:.1e}".replace("e-0", "e-") for error in errors)])


if __name__ == "__main__":
    for page, sentences in in_words().items():
        print(f"{page}:", *sentences, sep="\n  ")
