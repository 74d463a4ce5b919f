"""Each compiled kernel has its twin in NumPy: called alike, with the same arguments."""

import inspect

import numpy as np
import pytest

from cnn_ext import kernels, reference

KERNELS = [name for name in kernels.__all__ if callable(getattr(kernels, name))]


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_and_its_twin_take_the_same(name):
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (kernels, reference))
    assert ours == theirs


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_numpys_small_ints_do_not_wrap_around_in_either(kind, rng):
    """Sides of 300 pixels with strides of 2 are beyond what 8 bits count, and so are places in windows of 17."""
    x = rng.standard_normal((1, 1, 300, 301)).astype(np.float32)
    one, two, three, seventeen = map(kind, (1, 2, 3, 17))
    calls = {
        "im2col": (x, three, two, one, two),
        "col2im": (np.ones((6, 150 * 151), np.float32), (1, 1, 300, 301), three, two, one, two),
        "maxpool_forward": (x, seventeen, two),
        "avgpool_forward": (x, seventeen, two),
        "avgpool_backward": (np.ones((1, 1, 142, 143), np.float32), x.shape, seventeen, two),
        "conv2d_forward": (x, np.ones((2, 1, 3, 2), np.float32), np.zeros(2, np.float32), one, two),
        "winograd_conv2d_forward": (x, np.ones((2, 1, 3, 3), np.float32), np.zeros(2, np.float32), one),
    }
    plain = {one: 1, two: 2, three: 3, seventeen: 17}
    for name, arguments in calls.items():
        as_ints = [plain[a] if isinstance(a, kind) else a for a in arguments]
        for module in (kernels, reference):
            found, wanted = (getattr(module, name)(*given) for given in (arguments, as_ints))
            for a, b in zip(found, wanted, strict=True):  # images of a batch, or a pair of results
                np.testing.assert_array_equal(a, b)
    out, argmax = kernels.maxpool_forward(x, 17, 2)
    gradients = [module.maxpool_backward(out, argmax, x.shape, seventeen, two) for module in (kernels, reference)]
    np.testing.assert_array_equal(*gradients)
