/* One tile of Winograd's convolution: pixels, filters and gradients to their values at the points, products back to
 * results; one vector of channels or filters at a time. Included by winograd_body.h. */

/* The points of a tile besides 0 and infinity, +-point[i], and the polynomials that they are roots of, in t = x * x. */
typedef struct {
    REAL point[3];
    REAL all[4];       /* coefficients of the product of (t - point[j]^2), the lowest first */
    REAL others[3][3]; /* the same without j == i */
    REAL scale[3];     /* 1 / (2 t others[i](t)) at t = point[i]^2: what B' multiplies in, G divides by */
} NAMED(tile_points);

static const NAMED(tile_points) NAMED(points_of_6) = {
    {(REAL)0.625, (REAL)1.5},
    {(REAL)(0.390625 * 2.25), (REAL)-2.640625, 1},
    {{(REAL)-2.25, 1}, {(REAL)-0.390625, 1}},
    {(REAL)(1 / (2 * 0.390625 * (0.390625 - 2.25))), (REAL)(1 / (2 * 2.25 * (2.25 - 0.390625)))},
};
static const NAMED(tile_points) NAMED(points_of_8) = {
    {(REAL)0.5, 1, 2},
    {-1, (REAL)5.25, (REAL)-5.25, 1},
    {{4, -5, 1}, {1, (REAL)-4.25, 1}, {(REAL)0.25, (REAL)-1.25, 1}},
    {(REAL)(1 / 1.40625), (REAL)(1 / -4.5), (REAL)(1 / 90.0)},
};

static ALWAYS_INLINE const NAMED(tile_points) *NAMED(points_of)(int side)
{
    return side == 6 ? &NAMED(points_of_6) : &NAMED(points_of_8);
}

/* sum of c[i] * v[i * step] over n coefficients, of which the last is 1. */
static ALWAYS_INLINE NAMED(vec) NAMED(monic)(const REAL *c, const NAMED(vec) *v, int step, int n)
{
    NAMED(vec) sum = v[(n - 1) * step];
    for (int i = n - 2; i >= 0; i--)
        sum = NAMED(fma_add)(NAMED(broadcast)(c[i]), v[i * step], sum);
    return sum;
}

/* B': the pixels of a line of a tile to the values at 0, the points, and infinity, of the polynomials that pick them
 * out. */
static ALWAYS_INLINE void NAMED(values_of_pixels)(const NAMED(vec) *d, int side, NAMED(vec) *v)
{
    const NAMED(tile_points) *p = NAMED(points_of)(side);
    const int n_pairs = side / 2 - 1;
    v[0] = NAMED(monic)(p->all, d, 2, n_pairs + 1);
    v[side - 1] = NAMED(monic)(p->all, d + 1, 2, n_pairs + 1);
    for (int i = 0; i < n_pairs; i++) {
        const NAMED(vec) even = NAMED(monic)(p->others[i], d + 2, 2, n_pairs);
        const NAMED(vec) odd = NAMED(monic)(p->others[i], d + 1, 2, n_pairs);
        v[1 + 2 * i] = NAMED(fma_add)(NAMED(broadcast)(p->point[i]), odd, even);
        v[2 + 2 * i] = NAMED(fma_add)(NAMED(broadcast)(-p->point[i]), odd, even);
    }
}

/* G: n coefficients, 3 to 5, to the values of their polynomial at the points, over what B' has multiplied in. */
static ALWAYS_INLINE void NAMED(values_of_taps)(const NAMED(vec) *g, int n, int side, NAMED(vec) *u)
{
    const NAMED(tile_points) *p = NAMED(points_of)(side);
    u[0] = g[0] * NAMED(broadcast)(1 / p->all[0]);
    u[side - 1] = g[n - 1];
    for (int i = 0; i < side / 2 - 1; i++) {
        const NAMED(vec) t = NAMED(broadcast)(p->point[i] * p->point[i]), scale = NAMED(broadcast)(p->scale[i]);
        NAMED(vec) even = n > 4 ? NAMED(fma_add)(t, g[4], g[2]) : g[2];
        NAMED(vec) odd = n > 3 ? NAMED(fma_add)(t, g[3], g[1]) : g[1];
        even = NAMED(fma_add)(t, even, g[0]);
        odd *= NAMED(broadcast)(p->point[i]);
        u[1 + 2 * i] = (even + odd) * scale;
        u[2 + 2 * i] = (even - odd) * scale;
    }
}

/* A': the values of a product at the points to n of its coefficients, 3 to 5. */
static ALWAYS_INLINE void NAMED(coefficients)(const NAMED(vec) *m, int n, int side, NAMED(vec) *y)
{
    const NAMED(tile_points) *p = NAMED(points_of)(side);
    y[0] = m[0];
    for (int j = 1; j < n; j++)
        y[j] = (NAMED(vec)){0};
    y[n - 1] = m[side - 1];
    for (int i = 0; i < side / 2 - 1; i++) {
        const NAMED(vec) sum = m[1 + 2 * i] + m[2 + 2 * i], difference = m[1 + 2 * i] - m[2 + 2 * i];
        REAL power = 1;
        for (int j = 0; j < n; j++, power *= p->point[i])
            y[j] = NAMED(fma_add)(NAMED(broadcast)(power), j % 2 ? difference : sum, y[j]);
    }
}

/* values = B' d B of one vector of the channels of a tile. */
static ALWAYS_INLINE void NAMED(tile_values)(const REAL *tile, ptrdiff_t row, ptrdiff_t pixel, int side, REAL *values,
                                             ptrdiff_t step)
{
    NAMED(vec) columns[LARGEST_TILE][LARGEST_TILE], d[LARGEST_TILE], v[LARGEST_TILE];
    for (int x = 0; x < side; x++) {
        for (int y = 0; y < side; y++)
            d[y] = NAMED(load)(tile + y * row + x * pixel);
        NAMED(values_of_pixels)(d, side, v);
        for (int y = 0; y < side; y++)
            columns[y][x] = v[y];
    }
    for (int y = 0; y < side; y++) {
        NAMED(values_of_pixels)(columns[y], side, v);
        for (int x = 0; x < side; x++)
            NAMED(store)(values + (y * side + x) * step, v[x]);
    }
}

/* values = G g G' of one vector; the n x n taps lie `row` and `pixel` apart. */
static ALWAYS_INLINE void NAMED(tap_values)(const REAL *taps, ptrdiff_t row, ptrdiff_t pixel, int n, int side,
                                            REAL *values, ptrdiff_t step)
{
    NAMED(vec) columns[LARGEST_TILE][LARGEST_TILE], g[LARGEST_TILE], u[LARGEST_TILE];
    for (int x = 0; x < n; x++) {
        for (int y = 0; y < n; y++)
            g[y] = NAMED(load)(taps + y * row + x * pixel);
        NAMED(values_of_taps)(g, n, side, u);
        for (int y = 0; y < side; y++)
            columns[y][x] = u[y];
    }
    for (int y = 0; y < side; y++) {
        NAMED(values_of_taps)(columns[y], n, side, u);
        for (int x = 0; x < side; x++)
            NAMED(store)(values + (y * side + x) * step, u[x]);
    }
}

/* out[y][x] = A' M A of one vector, n x n results. */
static ALWAYS_INLINE void NAMED(results)(const REAL *products, ptrdiff_t step, int n, int side,
                                         NAMED(vec) (*out)[LARGEST_TILE])
{
    NAMED(vec) columns[LARGEST_TILE][LARGEST_TILE], m[LARGEST_TILE], y[LARGEST_TILE];
    for (int x = 0; x < side; x++) {
        for (int i = 0; i < side; i++)
            m[i] = NAMED(load)(products + (i * side + x) * step);
        NAMED(coefficients)(m, n, side, y);
        for (int i = 0; i < n; i++)
            columns[i][x] = y[i];
    }
    for (int i = 0; i < n; i++)
        NAMED(coefficients)(columns[i], n, side, out[i]);
}
