/* The body of warp.c, for one precision: REAL is the type, NAMED(f) the name of f in that precision. */

/* Places in the padded image: a pixel, and how far beyond it, in [0, 1). */
typedef struct {
    int32_t row[STRETCH], column[STRETCH];
    REAL down[STRETCH], right[STRETCH];
} NAMED(places);

static void NAMED(pad_image)(const image_shape *s, const REAL *image, REAL fill, REAL *padded)
{
    const ptrdiff_t width = s->width + PAD_BEFORE + PAD_AFTER;
    for (ptrdiff_t c = 0; c < s->n_channels; c++)
        for (ptrdiff_t y = -PAD_BEFORE; y < s->height + PAD_AFTER; y++, padded += width) {
            const int inside = y >= 0 && y < s->height;
            if (inside) {
                memcpy(padded + PAD_BEFORE, image, (size_t)s->width * sizeof(REAL));
                image += s->width;
            }
            for (ptrdiff_t x = 0; x < (inside ? PAD_BEFORE : width); x++)
                padded[x] = fill;
            for (ptrdiff_t x = inside ? width - PAD_AFTER : width; x < width; x++)
                padded[x] = fill;
        }
}

/* Hold a coordinate inside the padded image: what is farther out samples the border alone. The comparisons stand as
 * they do to send a NaN there too. */
static inline REAL NAMED(hold)(REAL place, REAL last)
{
    place = place > 0 ? place : 0;
    return place < last ? place : last;
}

static inline void NAMED(note_place)(NAMED(places) *places, ptrdiff_t i, REAL y, REAL x, REAL last_y, REAL last_x)
{
    y = NAMED(hold)(y, last_y);
    x = NAMED(hold)(x, last_x);
    places->row[i] = (int32_t)y; /* neither is negative: this is the floor */
    places->column[i] = (int32_t)x;
    places->down[i] = y - (REAL)places->row[i];
    places->right[i] = x - (REAL)places->column[i];
}

/* a + part * (b - a), where b does not count (it may be NaN) if part is 0. */
static inline REAL NAMED(between)(REAL a, REAL b, REAL part)
{
    const REAL mixed = a + part * (b - a);
    return part > 0 ? mixed : a;
}

static void NAMED(sample)(const image_shape *s, const REAL *padded, const NAMED(places) *places, ptrdiff_t n, REAL *out)
{
    const ptrdiff_t width = s->width + PAD_BEFORE + PAD_AFTER, height = s->height + PAD_BEFORE + PAD_AFTER;
    for (ptrdiff_t c = 0; c < s->n_channels; c++) {
        for (ptrdiff_t i = 0; i < n; i++) {
            const REAL *tap = padded + places->row[i] * width + places->column[i];
            const REAL above = NAMED(between)(tap[0], tap[1], places->right[i]);
            const REAL below = NAMED(between)(tap[width], tap[width + 1], places->right[i]);
            out[i] = NAMED(between)(above, below, places->down[i]);
        }
        padded += height * width;
        out += s->height * s->width;
    }
}

void NAMED(warp_affine)(const image_shape *s, const REAL *image, const REAL *matrix, REAL fill, REAL *padded, REAL *out)
{
    const REAL centre_y = (REAL)(s->height - 1) / 2, centre_x = (REAL)(s->width - 1) / 2;
    const REAL last_y = (REAL)(s->height + PAD_BEFORE), last_x = (REAL)(s->width + PAD_BEFORE);
    const REAL origin_y = matrix[2] + (centre_y + PAD_BEFORE), origin_x = matrix[5] + (centre_x + PAD_BEFORE);
    NAMED(places) places;
    NAMED(pad_image)(s, image, fill, padded);
    for (ptrdiff_t row = 0; row < s->height; row++) {
        const REAL y = (REAL)row - centre_y, row_y = matrix[0] * y + origin_y, row_x = matrix[3] * y + origin_x;
        for (ptrdiff_t begin = 0; begin < s->width; begin += STRETCH) {
            const ptrdiff_t n = s->width - begin < STRETCH ? s->width - begin : STRETCH;
            const REAL first = (REAL)begin - centre_x;
            for (int i = 0; i < (int)n; i++) {
                const REAL x = (REAL)i + first;
                NAMED(note_place)(&places, i, row_y + matrix[1] * x, row_x + matrix[4] * x, last_y, last_x);
            }
            NAMED(sample)(s, padded, &places, n, out + row * s->width + begin);
        }
    }
}

void NAMED(warp_flow)(const image_shape *s, const REAL *image, const REAL *flow, REAL fill, REAL *padded, REAL *out)
{
    const ptrdiff_t n_pixels = s->height * s->width;
    const REAL last_y = (REAL)(s->height + PAD_BEFORE), last_x = (REAL)(s->width + PAD_BEFORE);
    NAMED(places) places;
    NAMED(pad_image)(s, image, fill, padded);
    for (ptrdiff_t row = 0; row < s->height; row++)
        for (ptrdiff_t begin = 0; begin < s->width; begin += STRETCH) {
            const ptrdiff_t n = s->width - begin < STRETCH ? s->width - begin : STRETCH;
            const ptrdiff_t at = row * s->width + begin;
            const REAL row_y = (REAL)(row + PAD_BEFORE), first = (REAL)(begin + PAD_BEFORE);
            for (int i = 0; i < (int)n; i++)
                NAMED(note_place)(&places, i, row_y + flow[at + i], ((REAL)i + first) + flow[n_pixels + at + i], last_y,
                                  last_x);
            NAMED(sample)(s, padded, &places, n, out + at);
        }
}

/* out[i] = weights[0] * x[i] + sum over k from 1 to radius of weights[k] * (x[i - k * step] + x[i + k * step]), in that
 * order. A whole row for each k, which compilers make vectors of. */
static void NAMED(weigh_row)(const REAL *x, ptrdiff_t step, const REAL *restrict weights, ptrdiff_t radius,
                             ptrdiff_t width, REAL *restrict out)
{
    for (ptrdiff_t i = 0; i < width; i++)
        out[i] = weights[0] * x[i];
    for (ptrdiff_t k = 1; k <= radius; k++) {
        const REAL *before = x - k * step, *after = x + k * step;
        for (ptrdiff_t i = 0; i < width; i++)
            out[i] += weights[k] * (before[i] + after[i]);
    }
}

void NAMED(blur_plane)(ptrdiff_t height, ptrdiff_t width, const REAL *x, const REAL *weights, ptrdiff_t radius,
                       REAL *scratch, REAL *out)
{
    const ptrdiff_t border = radius * width, n = height * width;
    REAL *padded = scratch + border, *row = padded + n + border + radius;
    memcpy(padded, x, (size_t)n * sizeof(REAL));
    for (ptrdiff_t i = 0; i < border; i++)
        padded[i - border] = padded[n + i] = 0;
    for (ptrdiff_t i = 0; i < radius; i++)
        row[i - radius] = row[width + i] = 0;
    for (ptrdiff_t at = 0; at < n; at += width) {
        NAMED(weigh_row)(padded + at, width, weights, radius, width, row);
        NAMED(weigh_row)(row, 1, weights, radius, width, out + at);
    }
}
