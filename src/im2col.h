/* im2col: every window of a batch as a column of a matrix; col2im: its adjoint, adding columns back into images.
 *
 * Both work on images with the image index last, (C, H, W, N): then a row of the matrix is made of whole runs of N
 * numbers. `images_last` and `images_first` bring a batch there and back.
 *
 * columns is (C * h_window * w_window, h_out * w_out * N): row (c, i, j) holds, for each window position and image,
 * the pixel at (i, j) of that window in channel c; the image index runs fastest.
 */
#ifndef CNN_EXT_IM2COL_H
#define CNN_EXT_IM2COL_H

#include "geometry.h"

#define DECLARE_IM2COL(REAL, SUFFIX)                                                                                   \
    /* x_chwn[pixel, n] = x[n, pixel] for pixels [begin, end) of the C * H * W of an image. */                         \
    void images_last_##SUFFIX(const REAL *x, REAL *x_chwn, ptrdiff_t n_images, ptrdiff_t n_pixels, ptrdiff_t begin,    \
                              ptrdiff_t end);                                                                          \
    /* x[n, pixel] = x_chwn[pixel, n] for pixels [begin, end). */                                                      \
    void images_first_##SUFFIX(const REAL *x_chwn, REAL *x, ptrdiff_t n_images, ptrdiff_t n_pixels, ptrdiff_t begin,   \
                               ptrdiff_t end);                                                                         \
    /* Fill one row (c, i, j) of the columns. */                                                                       \
    void im2col_row_##SUFFIX(const REAL *x_chwn, REAL *columns, const geometry *g, ptrdiff_t row);                     \
    /* Sum the columns of one channel into dx_chwn, which the call clears first. */                                    \
    void col2im_channel_##SUFFIX(const REAL *columns, REAL *dx_chwn, const geometry *g, ptrdiff_t channel);

DECLARE_IM2COL(float, f32)
DECLARE_IM2COL(double, f64)

#endif
