"""The compiled kernels as plain functions on NumPy arrays.

They take float32 and float64 arrays of any strides and byte order, read-only ones too, never write to what they
are given, and return new C-contiguous arrays of the same precision. They convert nothing: any other dtype is a
DTypeError. The GIL is released while they work; results do not depend on the number of threads. `cnn_ext.reference`
holds the same functions in NumPy: what they compute is best read there.
"""

from .._compiled import INSTRUCTION_SET
from .columns import col2im, im2col
from .convolution import conv2d_backward, conv2d_forward, winograd_conv2d_backward, winograd_conv2d_forward
from .pooling import avgpool_backward, avgpool_forward, maxpool_backward, maxpool_forward
from .resampling import gaussian_blur, warp_affine, warp_flow

__all__ = [
    "INSTRUCTION_SET",
    "avgpool_backward",
    "avgpool_forward",
    "col2im",
    "conv2d_backward",
    "conv2d_forward",
    "gaussian_blur",
    "im2col",
    "maxpool_backward",
    "maxpool_forward",
    "warp_affine",
    "warp_flow",
    "winograd_conv2d_backward",
    "winograd_conv2d_forward",
]
