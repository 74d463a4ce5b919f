/* Average pooling over windows of any height and width, and the way back to all pixels of a window.
 *
 * A plane is one channel of one image, (height, width); its windows give (h_out, w_out) averages.
 */
#ifndef CNN_EXT_AVGPOOL_H
#define CNN_EXT_AVGPOOL_H

#include "geometry.h"

#define DECLARE_AVGPOOL(REAL, SUFFIX)                                                                                  \
    /* A window is summed row by row, then divided by its number of pixels. */                                         \
    void avgpool_plane_##SUFFIX(const REAL *x, REAL *out, const geometry *g, ptrdiff_t plane);                         \
    /* dx, cleared first, gets at each pixel of a window its share of the window's gradient. */                        \
    void avgpool_back_plane_##SUFFIX(const REAL *dout, REAL *dx, const geometry *g, ptrdiff_t plane);

DECLARE_AVGPOOL(float, f32)
DECLARE_AVGPOOL(double, f64)

#endif
