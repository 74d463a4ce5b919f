"""Each compiled kernel has its twin in NumPy: called alike, with the same arguments."""

import inspect

import pytest

from cnn_ext import kernels, reference

KERNELS = [name for name in kernels.__all__ if callable(getattr(kernels, name))]


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_and_its_twin_take_the_same(name):
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (kernels, reference))
    assert ours == theirs
