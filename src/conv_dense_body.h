/* The way back where every pixel has its gradients: products of matrices over the patches, which are never unfolded.
 * Included by conv_body.h. */

static void NAMED(gradient_image)(const conv_shape *s, const void *dout, const void *out, image_layout layout,
                                  void *gradient)
{
    NAMED(relu_gradient)(s->h_conv * s->w_conv, s->n_filter, s->relu, dout, out, layout, gradient);
}

/* Rows of the convolution whose gradients and patches fit the fastest cache together. */
static ptrdiff_t NAMED(rows_in_cache)(const conv_shape *s)
{
    const ptrdiff_t in_row = s->w_conv * s->n_filter + s->padded_row * s->stride;
    const ptrdiff_t rows = 16384 / (ptrdiff_t)sizeof(REAL) / in_row;
    return rows > 1 ? rows : 1;
}

/* db[k] += sum over pixels of gradient[pixel][k]. */
static void NAMED(bias_gradient)(const conv_shape *s, const void *gradient_, void *db_)
{
    const REAL *gradient = gradient_;
    REAL *db = db_;
    for (ptrdiff_t pixel = 0; pixel < s->h_conv * s->w_conv; pixel++, gradient += s->n_filter)
        for (ptrdiff_t k = 0; k < s->n_filter; k++)
            db[k] += gradient[k];
}

/* dw[k][column] += sum over pixels of gradient[pixel][k] * patch of the pixel[column]. */
static void NAMED(dense_weight_gradient)(const conv_shape *s, const void *padded_, const void *gradient_, void *dw)
{
    const ptrdiff_t at_once = NAMED(rows_in_cache)(s), patch_size = s->h_filter * s->run_padded;
    for (ptrdiff_t row = 0; row < s->h_conv; row += at_once) {
        const REAL *padded = (const REAL *)padded_ + row * s->stride * s->padded_row;
        for (ptrdiff_t ky = 0; ky < s->h_filter; ky++) {
            const NAMED(factors) factors = {
                .left = (const REAL *)gradient_ + row * s->w_conv * s->n_filter,
                .left_step = s->n_filter,
                .right = padded + ky * s->padded_row,
                .right_step = s->stride * s->n_channels,
                .right_line = s->stride * s->padded_row,
                .n_lines = row + at_once < s->h_conv ? at_once : s->h_conv - row,
                .n_in_line = s->w_conv,
            };
            NAMED(add_products)(&factors, s->n_filter, s->run_padded, (REAL *)dw + ky * s->run_padded, patch_size);
        }
    }
}

/* TILE_ROWS pixels, n_vectors vectors of their patches:
 *     patch of the pixel[column] += sum over k of gradient[pixel][k] * filter k[column].
 * Patches overlap, so each is added to memory by itself. */
static ALWAYS_INLINE void NAMED(dense_filters)(const conv_shape *s, const REAL *gradient, const REAL *filters,
                                               REAL *const *patch, ptrdiff_t n_pixels, const NAMED(mask) *lanes,
                                               int n_vectors)
{
    const ptrdiff_t patch_size = s->h_filter * s->run_padded;
    NAMED(vec) sum[TILE_ROWS][2] = {{{0}}};
    const REAL *at[TILE_ROWS];
    for (int p = 0; p < TILE_ROWS; p++) /* past the end, the last pixel once more */
        at[p] = gradient + (p < n_pixels ? p : n_pixels - 1) * s->n_filter;
    for (ptrdiff_t k = 0; k < s->n_filter; k++) {
        NAMED(vec) f0 = NAMED(load)(filters), f1 = n_vectors > 1 ? NAMED(load)(filters + LANES) : f0;
        for (int p = 0; p < TILE_ROWS; p++) {
            NAMED(vec) number = NAMED(broadcast)(at[p][k]);
            sum[p][0] = NAMED(fma_add)(number, f0, sum[p][0]);
            if (n_vectors > 1)
                sum[p][1] = NAMED(fma_add)(number, f1, sum[p][1]);
        }
        filters += patch_size;
    }
    for (int p = 0; p < TILE_ROWS; p++)
        if (p < n_pixels)
            for (int v = 0; v < n_vectors; v++)
                NAMED(add_lanes)(patch[p] + v * LANES, sum[p][v], lanes[v]);
}

/* From the last column to the first: what the patches of a row of pixels add to one number then comes pixel by pixel,
 * however wide the vectors are. */
static void NAMED(dense_input_gradient)(const conv_shape *s, const void *gradient_, const void *back, void *dpadded_)
{
    const ptrdiff_t at_once = NAMED(rows_in_cache)(s) * s->w_conv, n_pixels = s->h_conv * s->w_conv;
    REAL *dpadded = dpadded_;
    memset(dpadded, 0, (size_t)s->padded_size * sizeof(REAL));
    for (ptrdiff_t begin = 0; begin < n_pixels; begin += at_once) {
        const ptrdiff_t end = begin + at_once < n_pixels ? begin + at_once : n_pixels;
        for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
            for (ptrdiff_t column = (s->run_padded - 1) / (2 * LANES) * 2 * LANES; column >= 0; column -= 2 * LANES) {
                const NAMED(mask) lanes[2] = {NAMED(lanes_of_run)(s, column), NAMED(lanes_of_run)(s, column + LANES)};
                const REAL *filters = (const REAL *)back + ky * s->run_padded + column;
                ptrdiff_t y = begin / s->w_conv, x = 0;
                for (ptrdiff_t first = begin; first < end; first += TILE_ROWS) {
                    const REAL *gradient = (const REAL *)gradient_ + first * s->n_filter;
                    REAL *patch[TILE_ROWS];
                    for (int p = 0; p < TILE_ROWS; p++) {
                        patch[p] =
                            dpadded + (y * s->stride + ky) * s->padded_row + x * s->stride * s->n_channels + column;
                        if (first + p + 1 < end && ++x == s->w_conv) {
                            x = 0;
                            y++;
                        }
                    }
                    if (s->run_padded - column > LANES)
                        NAMED(dense_filters)(s, gradient, filters, patch, end - first, lanes, 2);
                    else
                        NAMED(dense_filters)(s, gradient, filters, patch, end - first, lanes, 1);
                }
            }
    }
}
