/* The body of maxpool.c, for one precision: REAL is the type, NAMED(f) the name of f in that precision. */

/* Place by place, each for a row of windows. Who wins is a coin's throw, so nothing branches on it. */
void NAMED(maxpool_plane)(const REAL *x, REAL *out, ptrdiff_t *argmax, const geometry *g, ptrdiff_t plane)
{
    x += plane * g->height * g->width;
    out += plane * g->h_out * g->w_out;
    argmax += plane * g->h_out * g->w_out;
    for (ptrdiff_t oy = 0; oy < g->h_out; oy++, out += g->w_out, argmax += g->w_out) {
        const REAL *windows = x + oy * g->stride * g->width;
        for (ptrdiff_t ox = 0; ox < g->w_out; ox++) {
            out[ox] = windows[ox * g->stride];
            argmax[ox] = 0;
        }
        for (ptrdiff_t place = 1; place < g->h_window * g->w_window; place++) {
            const REAL *pixels = windows + place / g->w_window * g->width + place % g->w_window;
            for (ptrdiff_t ox = 0; ox < g->w_out; ox++) {
                const REAL either[2] = {out[ox], pixels[ox * g->stride]};
                /* "not <=" is true for larger numbers and for NaN; once the best is NaN, nothing replaces it. */
                const int wins = !(either[1] <= either[0]) & (either[0] == either[0]);
                out[ox] = either[wins];
                argmax[ox] += (place - argmax[ox]) * wins;
            }
        }
    }
}

void NAMED(maxpool_back_plane)(const REAL *dout, const ptrdiff_t *argmax, REAL *dx, const geometry *g, ptrdiff_t plane)
{
    dout += plane * g->h_out * g->w_out;
    argmax += plane * g->h_out * g->w_out;
    dx += plane * g->height * g->width;
    memset(dx, 0, (size_t)(g->height * g->width) * sizeof(REAL));
    for (ptrdiff_t oy = 0; oy < g->h_out; oy++)
        for (ptrdiff_t ox = 0; ox < g->w_out; ox++) {
            ptrdiff_t place = *argmax++;
            REAL gradient = *dout++;
            if (place < 0 || place >= g->h_window * g->w_window)
                continue;
            ptrdiff_t y = oy * g->stride + place / g->w_window, x = ox * g->stride + place % g->w_window;
            dx[y * g->width + x] += gradient;
        }
}
