/* The body of avgpool.c, for one precision: REAL is the type, NAMED(f) the name of f in that precision. */

void NAMED(avgpool_plane)(const REAL *x, REAL *out, const geometry *g, ptrdiff_t plane)
{
    const REAL n = (REAL)(g->h_window * g->w_window);
    x += plane * g->height * g->width;
    out += plane * g->h_out * g->w_out;
    for (ptrdiff_t oy = 0; oy < g->h_out; oy++)
        for (ptrdiff_t ox = 0; ox < g->w_out; ox++) {
            const REAL *window = x + oy * g->stride * g->width + ox * g->stride;
            REAL sum = 0;
            for (ptrdiff_t i = 0; i < g->h_window; i++)
                for (ptrdiff_t j = 0; j < g->w_window; j++)
                    sum += window[i * g->width + j];
            *out++ = sum / n;
        }
}

/* Place by place, then window by window: where windows overlap, that is the order in which a pixel's shares add up. */
void NAMED(avgpool_back_plane)(const REAL *dout, REAL *dx, const geometry *g, ptrdiff_t plane)
{
    const REAL n = (REAL)(g->h_window * g->w_window);
    dout += plane * g->h_out * g->w_out;
    dx += plane * g->height * g->width;
    memset(dx, 0, (size_t)(g->height * g->width) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < g->h_window; i++)
        for (ptrdiff_t j = 0; j < g->w_window; j++)
            for (ptrdiff_t oy = 0; oy < g->h_out; oy++)
                for (ptrdiff_t ox = 0; ox < g->w_out; ox++)
                    dx[(oy * g->stride + i) * g->width + ox * g->stride + j] += dout[oy * g->w_out + ox] / n;
}
