/* Max-pooling over square windows, and the way back to each window's winner.
 *
 * A plane is one channel of one image, (height, width); its windows give (h_out, w_out) maxima. argmax is the place
 * of the winner within its window, row by row, in [0, h_window * w_window).
 */
#ifndef CNN_EXT_MAXPOOL_H
#define CNN_EXT_MAXPOOL_H

#include "geometry.h"

#define DECLARE_MAXPOOL(REAL, SUFFIX)                                                                                  \
    /* The first of equal maxima wins; a NaN wins over all numbers, the first NaN over all. */                         \
    void maxpool_plane_##SUFFIX(const REAL *x, REAL *out, ptrdiff_t *argmax, const geometry *g, ptrdiff_t plane);      \
    /* dx, cleared first, gets each gradient at its winner; a place outside its window is passed over. */              \
    void maxpool_back_plane_##SUFFIX(const REAL *dout, const ptrdiff_t *argmax, REAL *dx, const geometry *g,           \
                                     ptrdiff_t plane);

DECLARE_MAXPOOL(float, f32)
DECLARE_MAXPOOL(double, f64)

#endif
