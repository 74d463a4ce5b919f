"""Measure the machine's bounds, and what share of them the kernels of the series' network reach on one thread.

    python -m benchmarks.roofline [--rounds 30] [--json FILE]

Bounds: fused multiply-adds of one thread (a loop of independent ones in C, compiled here, float32; two operations each)
and the bandwidth of a large copy. Operations are the useful ones: 2 for each multiply-add that the direct sums need, on
the sparse way back only those of gradients that are alive; bytes are those of the arrays in and out, once. Winograd's
method needs fewer, so it can pass the peak; beside it stand the direct convolution, and the share that its own products
make. The bound of a kernel is the smaller of the peak and intensity x bandwidth. Batch 50; gradients and weights as in
training under way (see torch_step.py), for the way back of layer 2 also as in its first steps and with all alive.
"""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import _timing

PEAK = r"""
#include <immintrin.h>
__attribute__((target("avx2,fma"))) float avx2(long n)
{
    __m256 s[12], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    for (int i = 0; i < 12; i++) s[i] = _mm256_set1_ps((float)i);
    for (long k = 0; k < n; k++)
        for (int i = 0; i < 12; i++) s[i] = _mm256_fmadd_ps(s[i], a, b);
    for (int i = 1; i < 12; i++) s[0] = _mm256_add_ps(s[0], s[i]);
    return _mm256_cvtss_f32(s[0]);
}
__attribute__((target("avx512f"))) float avx512(long n)
{
    __m512 s[12], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    for (int i = 0; i < 12; i++) s[i] = _mm512_set1_ps((float)i);
    for (long k = 0; k < n; k++)
        for (int i = 0; i < 12; i++) s[i] = _mm512_fmadd_ps(s[i], a, b);
    for (int i = 1; i < 12; i++) s[0] = _mm512_add_ps(s[0], s[i]);
    return _mm512_cvtss_f32(s[0]);
}
"""


def fma_peak(instruction_set: str) -> float:
    """Return the operations a second of the best of 20 short runs, or NaN without a C compiler or x86."""
    compiler = shutil.which("cc")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "peak.c", Path(folder) / "peak.so"
        source.write_text(PEAK)
        command = [compiler or "cc", "-O3", "-shared", "-fPIC", str(source), "-o", str(library)]
        if compiler is None or subprocess.run(command, capture_output=True).returncode != 0:
            return float("nan")
        functions = ctypes.CDLL(str(library))
        function, lanes = (functions.avx512, 16) if instruction_set == "avx512" else (functions.avx2, 8)
        function.argtypes, function.restype = [ctypes.c_long], ctypes.c_float
        best = float("inf")
        for _ in range(20):
            began = time.perf_counter()
            function(1_000_000)
            best = min(best, time.perf_counter() - began)
    return 1_000_000 * 12 * lanes * 2 / best


def main() -> None:
    parser = _timing.parser_of(__doc__)
    args = parser.parse_args()
    _timing.set_threads(1)
    import numpy as np

    import cnn_ext
    from benchmarks import _ours
    from cnn_ext.engine import ConvEngine, dense_backward, dense_forward

    peak = fma_peak(cnn_ext.kernels.INSTRUCTION_SET)
    big = np.ones(32 * 2**20, np.float32)
    target = np.empty_like(big)
    copies = [_seconds(lambda: np.copyto(target, big)) for _ in range(10)]
    bandwidth = 2 * big.nbytes / min(copies)
    print(f"peak of one thread: {peak / 1e9:.1f} GFLOP/s; copy: {bandwidth / 1e9:.1f} GB/s")

    X, y = (part[:50] for part in _ours.images(50))
    rows: list[dict[str, object]] = []

    def measure(name: str, operations: float, n_bytes: float, function) -> None:
        seconds = statistics.median(_seconds(function) for _ in range(10 * args.rounds))
        bound = min(peak, operations / n_bytes * bandwidth)
        rate = operations / seconds
        rows.append({"name": name, "seconds": seconds, "operations": operations, "bytes": n_bytes, "rate": rate})
        rows[-1] |= {"share_of_peak": rate / peak, "share_of_bound": rate / bound}
        print(
            f"{name:36} {1e3 * seconds:7.3f} ms {operations / 1e6:7.1f} MFLOP {n_bytes / 1e6:6.2f} MB "
            f"{rate / 1e9:6.1f} GFLOP/s {rate / peak:5.0%} of peak {rate / bound:5.0%} of its bound",
            flush=True,
        )

    for state, weights in (("first steps", None), ("under way", _ours.weights_after_an_epoch())):
        layers = _ours.series_layers(weights)
        step = _ours.step_of(layers, X, y, 50)
        step()
        first, second = layers[0].engine(True, 2), layers[3].engine(True, 2)
        pooled1 = first.forward(X, *layers[0].weights(), training=True, out_last=True)
        pooled2 = second.forward(pooled1, *layers[3].weights(), training=True, last=True)
        alive1, alive2 = int((pooled1 > 0).sum()), int((pooled2 > 0).sum())
        forward1, forward2 = 2.0 * 50 * 784 * 16 * 25, 2.0 * 50 * 196 * 32 * 400
        backward1, backward2 = 2.0 * alive1 * 25, 2 * 2.0 * alive2 * 400
        dense = 2.0 * 50 * (1568 * 120 + 120 * 10)
        d1 = np.random.default_rng(0).standard_normal(pooled1.shape).astype(np.float32)
        d2 = np.random.default_rng(0).standard_normal(pooled2.shape).astype(np.float32)
        if state == "under way":
            x, w = pooled2.reshape(50, -1), layers[7].W
            bias, dout = layers[7].b, np.ones((50, 120), np.float32)
            measure(
                "layer 1 forward, fused",
                forward1,
                4.0 * (X.size + pooled1.size),
                lambda: first.forward(X, *layers[0].weights(), training=True, out_last=True),
            )
            measure(
                "layer 2 forward, fused",
                forward2,
                4.0 * (pooled1.size + pooled2.size + 12_800),
                lambda: second.forward(pooled1, *layers[3].weights(), training=True, last=True),
            )
            seconds = rows[-1]["seconds"]
            own = 2.0 * 50 * 16 * 64 * 16 * 32 / seconds / peak  # 16 tiles of 64 points; 16 channels, 32 filters
            rows[-1]["share_of_peak_by_own_products"] = own
            print(f"    its own products alone, a sixth of them: {own:.0%} of peak")
            directly = ConvEngine(layers[3].windows, 32, pooled1.dtype, relu=True, pool=2)
            measure(
                "layer 2 forward, fused, directly",
                forward2,
                4.0 * (pooled1.size + pooled2.size + 12_800),
                lambda: directly.forward(pooled1, *layers[3].weights(), training=True, last=True),
            )
            unpooled = layers[3].engine(False, 1)
            full = unpooled.forward(pooled1, *layers[3].weights(), training=True, last=True, out_last=True)
            measure(
                "layer 2 backward without pooling",
                2 * forward2,
                4.0 * (2 * pooled1.size + full.size + 25_600),
                lambda: unpooled.backward(full, layers[3].weights()[0]),
            )
            measure("dense 1 forward", 2.0 * 50 * w.size, 4.0 * (x.size + w.size), lambda: dense_forward(x, w, bias))
            measure("the same by NumPy's BLAS", 2.0 * 50 * w.size, 4.0 * (x.size + w.size), lambda: x @ w + bias)
            measure(
                "dense 1 backward",
                4.0 * 50 * w.size,
                4.0 * (2 * x.size + 3 * w.size),
                lambda: dense_backward(dout, x, w),
            )
            measure(
                "the same by NumPy's BLAS",
                4.0 * 50 * w.size,
                4.0 * (2 * x.size + 3 * w.size),
                lambda: (dout @ w.T, x.T @ dout),
            )
        share = f"{alive2 / pooled2.size:.0%} alive"
        measure(f"layer 1 backward, {alive1 / pooled1.size:.0%} alive", backward1, 4.0 * (X.size + 2 * pooled1.size),
                lambda: first.backward(d1, layers[0].weights()[0], need_dx=False))  # fmt: skip
        measure(f"layer 2 backward, {share}", backward2, 4.0 * (2 * pooled1.size + 2 * pooled2.size + 2 * 12800),
                lambda: second.backward(d2, layers[3].weights()[0]))  # fmt: skip
        if state == "first steps":
            bias = np.full(32, 100, np.float32)  # every maximum passes the ReLU
            second.forward(pooled1, layers[3].weights()[0], bias, training=True, last=True)
            measure("layer 2 backward, 100% alive", 2 * 2.0 * pooled2.size * 400,
                    4.0 * (2 * pooled1.size + 2 * pooled2.size + 2 * 12800),
                    lambda: second.backward(d2, layers[3].weights()[0]))  # fmt: skip
        total = forward1 + forward2 + backward1 + backward2 + 3 * dense
        measure(f"whole step, {state}", total, 4.0 * 6 * 203_000, step)
    _timing.append_json(args.json, {"peak": peak, "bandwidth": bandwidth, "kernels": rows})


def _seconds(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
