/* The body of im2col.c, for one precision: REAL is the type, NAMED(f) the name of f in that precision. */

enum { NAMED(block) = 16 }; /* a block of 16 x 16 numbers fits the fastest cache both ways round */

/* Naively: for each pixel, for each image: x_chwn[pixel, n] = x[n, pixel]. In blocks, neither side is read or
 * written across whole images. */
void NAMED(images_last)(const REAL *x, REAL *x_chwn, ptrdiff_t n_images, ptrdiff_t n_pixels, ptrdiff_t begin,
                        ptrdiff_t end)
{
    for (ptrdiff_t pixel0 = begin; pixel0 < end; pixel0 += NAMED(block)) {
        ptrdiff_t pixel1 = pixel0 + NAMED(block) < end ? pixel0 + NAMED(block) : end;
        for (ptrdiff_t n0 = 0; n0 < n_images; n0 += NAMED(block)) {
            ptrdiff_t n1 = n0 + NAMED(block) < n_images ? n0 + NAMED(block) : n_images;
            for (ptrdiff_t pixel = pixel0; pixel < pixel1; pixel++)
                for (ptrdiff_t n = n0; n < n1; n++)
                    x_chwn[pixel * n_images + n] = x[n * n_pixels + pixel];
        }
    }
}

void NAMED(images_first)(const REAL *x_chwn, REAL *x, ptrdiff_t n_images, ptrdiff_t n_pixels, ptrdiff_t begin,
                         ptrdiff_t end)
{
    for (ptrdiff_t pixel0 = begin; pixel0 < end; pixel0 += NAMED(block)) {
        ptrdiff_t pixel1 = pixel0 + NAMED(block) < end ? pixel0 + NAMED(block) : end;
        for (ptrdiff_t n0 = 0; n0 < n_images; n0 += NAMED(block)) {
            ptrdiff_t n1 = n0 + NAMED(block) < n_images ? n0 + NAMED(block) : n_images;
            for (ptrdiff_t n = n0; n < n1; n++)
                for (ptrdiff_t pixel = pixel0; pixel < pixel1; pixel++)
                    x[n * n_pixels + pixel] = x_chwn[pixel * n_images + n];
        }
    }
}

/* Naively: for each window (oy, ox), for each image n:
 *     columns[row, oy, ox, n] = x_chwn[c, oy * stride + i - padding, ox * stride + j - padding, n], or 0 outside.
 * With stride 1, the windows of one output row lie side by side in the image too: one copy for all of them. */
void NAMED(im2col_row)(const REAL *x_chwn, REAL *columns, const geometry *g, ptrdiff_t row)
{
    ptrdiff_t n = g->n_images;
    ptrdiff_t j = row % g->w_window - g->padding;
    ptrdiff_t i = row / g->w_window % g->h_window - g->padding;
    const REAL *channel = x_chwn + row / (g->w_window * g->h_window) * g->height * g->width * n;
    REAL *out = columns + row * g->h_out * g->w_out * n;

    for (ptrdiff_t oy = 0; oy < g->h_out; oy++) {
        ptrdiff_t y = oy * g->stride + i;
        if (y < 0 || y >= g->height) {
            memset(out, 0, (size_t)(g->w_out * n) * sizeof(REAL));
            out += g->w_out * n;
            continue;
        }
        const REAL *image_row = channel + y * g->width * n;
        for (ptrdiff_t ox = 0; ox < g->w_out;) {
            ptrdiff_t x = ox * g->stride + j;
            ptrdiff_t run = 1;
            if (x < 0 || x >= g->width) {
                memset(out, 0, (size_t)n * sizeof(REAL));
            } else {
                if (g->stride == 1)
                    run = g->width - x < g->w_out - ox ? g->width - x : g->w_out - ox;
                memcpy(out, image_row + x * n, (size_t)(run * n) * sizeof(REAL));
            }
            out += run * n;
            ox += run;
        }
    }
}

/* Naively: for each (i, j), for each window (oy, ox), for each image n:
 *     dx_chwn[c, oy * stride + i - padding, ox * stride + j - padding, n] += columns[(c, i, j), oy, ox, n].
 * So each pixel sums its columns in the order of (i, j), whatever the sizes. */
void NAMED(col2im_channel)(const REAL *columns, REAL *dx_chwn, const geometry *g, ptrdiff_t channel)
{
    ptrdiff_t n_images = g->n_images;
    REAL *dx = dx_chwn + channel * g->height * g->width * n_images;
    const REAL *in = columns + channel * g->h_window * g->w_window * g->h_out * g->w_out * n_images;

    memset(dx, 0, (size_t)(g->height * g->width * n_images) * sizeof(REAL));
    for (ptrdiff_t i = -g->padding; i < g->h_window - g->padding; i++)
        for (ptrdiff_t j = -g->padding; j < g->w_window - g->padding; j++)
            for (ptrdiff_t oy = 0; oy < g->h_out; oy++)
                for (ptrdiff_t ox = 0; ox < g->w_out; ox++, in += n_images) {
                    ptrdiff_t y = oy * g->stride + i, x = ox * g->stride + j;
                    if (y < 0 || y >= g->height || x < 0 || x >= g->width)
                        continue;
                    REAL *restrict pixel = dx + (y * g->width + x) * n_images;
                    const REAL *restrict column = in;
                    for (ptrdiff_t n = 0; n < n_images; n++)
                        pixel[n] += column[n];
                }
}
