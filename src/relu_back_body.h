/* The gradient through a ReLU, pixel by pixel. Included by the bodies that need it, behind simd.h. */

/* gradient[pixel, c] = dout, where the ReLU, if there is one, let out through, else 0; channels last. */
static void NAMED(relu_gradient)(ptrdiff_t n_pixels, ptrdiff_t n_channels, ptrdiff_t relu, const REAL *dout,
                                 const REAL *out, image_layout layout, REAL *gradient)
{
    for (ptrdiff_t pixel = 0; pixel < n_pixels; pixel++, gradient += n_channels) {
        const REAL *g = dout + pixel * layout.pixel_stride, *o = out + pixel * layout.pixel_stride;
        if (relu && layout.channel_stride == 1)
            for (ptrdiff_t c = 0; c < n_channels; c += LANES) {
                const ptrdiff_t n = n_channels - c;
                NAMED(vec) value = NAMED(relu_back)(NAMED(load_some)(g + c, n), NAMED(load_some)(o + c, n));
                NAMED(store_some)(gradient + c, n, value);
            }
        else
            for (ptrdiff_t c = 0; c < n_channels; c++) {
                const int off = relu && o[c * layout.channel_stride] <= 0;
                gradient[c] = off ? 0 : g[c * layout.channel_stride];
            }
    }
}
