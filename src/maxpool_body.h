/* The body of maxpool.c, for one precision: REAL is the type, NAMED(f) the name of f in that precision. */

void NAMED(maxpool_plane)(const REAL *x, REAL *out, ptrdiff_t *argmax, const geometry *g, ptrdiff_t plane)
{
    x += plane * g->height * g->width;
    out += plane * g->h_out * g->w_out;
    argmax += plane * g->h_out * g->w_out;
    for (ptrdiff_t oy = 0; oy < g->h_out; oy++)
        for (ptrdiff_t ox = 0; ox < g->w_out; ox++) {
            const REAL *window = x + oy * g->stride * g->width + ox * g->stride;
            REAL best = window[0];
            ptrdiff_t winner = 0, place = 0;
            for (ptrdiff_t i = 0; i < g->h_window; i++)
                for (ptrdiff_t j = 0; j < g->w_window; j++, place++) {
                    REAL value = window[i * g->width + j];
                    /* "not <=" is true for larger numbers and for NaN; once best is NaN, nothing replaces it. */
                    if (!(value <= best) && best == best) {
                        best = value;
                        winner = place;
                    }
                }
            *out++ = best;
            *argmax++ = winner;
        }
}

void NAMED(maxpool_back_plane)(const REAL *dout, const ptrdiff_t *argmax, REAL *dx, const geometry *g,
                               ptrdiff_t plane)
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
