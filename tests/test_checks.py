"""The checks of arguments at their very bounds."""

import numpy as np
import pytest

from cnn_ext import DTypeError, ShapeError
from cnn_ext._checks import as_contiguous, check_apart, check_array, check_instance, check_int, is_inside


def test_ints_at_their_bounds():
    assert check_int("n", np.int8(3), 3) == 3 and check_int("n", 5, 0, 5) == 5
    with pytest.raises(ValueError, match="n must be >= 3, got 2"):
        check_int("n", 2, 3)
    with pytest.raises(ValueError, match="n must be <= 5, got 6"):
        check_int("n", 6, 0, 5)
    assert check_int("n", 2**200, 0, maximum=None) == 2**200


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.5), (-1e-300, 1, 2)),
        ("(0, 1]", (1, 1e-300), (0, -1, 1 + 1e-15)),
        ("(-inf, inf)", (0, -1e308), (np.inf, -np.inf)),
        ("[2, 2]", (2,), (1.9, 2.1)),
    ],
)
def test_intervals(interval, inside, outside):
    assert all(is_inside(value, interval) for value in inside)
    assert not any(is_inside(value, interval) for value in (*outside, np.nan))


def test_arrays_and_how_many_axes_they_have():
    x = np.zeros((2, 3))
    assert check_array("x", x, 2) is not x and check_array("x", x, 2).base is x
    for ndim, message in (
        (4, r"x must be 4-D \(N, C, H, W\), got 2-D \(2, 3\)"),
        (3, r"x must be 3-D, got 2-D \(2, 3\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            check_array("x", x, ndim)
    with pytest.raises(ShapeError, match=r"x must be 2-D \(rows, columns\), got 1-D \(3,\)"):
        check_array("x", x[0], 2)
    with pytest.raises(DTypeError, match=r"x must be a plain numpy\.ndarray, got a masked array"):
        check_array("x", np.ma.array(x))


def test_what_the_compiled_code_gets_is_contiguous_and_aligned(layout, rng):
    x = rng.normal(size=(3, 4, 6)).astype(np.float32)
    plain = as_contiguous(layout(x), np.float32)
    assert plain.flags.c_contiguous and plain.flags.aligned and plain.dtype.isnative
    np.testing.assert_array_equal(plain, x)
    assert as_contiguous(x) is x


def test_arrays_that_share_memory_are_named():
    x = np.zeros(4)
    check_apart("ab", (x[:2], x[2:]))
    with pytest.raises(ValueError, match="a and b share memory: each must have its own"):
        check_apart("ab", (x[:3], x[2:]))


def test_a_class_in_place_of_its_instance_is_told():
    check_instance("n", 1, int)
    with pytest.raises(DTypeError, match="n must be of type int, got the class bool: call it"):
        check_instance("n", bool, int)
    with pytest.raises(DTypeError, match="n must be of type int, got str"):
        check_instance("n", "1", int)
