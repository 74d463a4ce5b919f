/* The way back behind a max-pooling, where few gradients are left: lists of them, and the sums over the lists.
 * Included by conv_body.h. */

/* A gradient, and the filter it belongs to or where its patch starts. */
typedef struct {
    REAL value;
    int32_t where;
} NAMED(conv_entry);

/* Bring the pixels into the order of how many gradients they have: a loop over so few is best foreseen if the next one
 * is as long. A counting sort. */
static void NAMED(sort_pixels)(const conv_shape *s, conv_lists lists)
{
    const ptrdiff_t n_pixels = s->h_out * s->w_out * s->pool * s->pool;
    int32_t *next = lists.alive; /* of n_filter + 1 */
    memset(next, 0, (size_t)(s->n_filter + 1) * sizeof(int32_t));
    for (ptrdiff_t i = 0; i < n_pixels; i++)
        next[lists.pixels[i].n]++;
    for (ptrdiff_t n = 0, start = 0; n <= s->n_filter; n++) {
        const int32_t count = next[n];
        next[n] = (int32_t)start;
        start += count;
    }
    for (ptrdiff_t i = 0; i < n_pixels; i++)
        lists.sorted[next[lists.pixels[i].n]++] = lists.pixels[i];
}

/* Only the winner of a window has a gradient, and only if the ReLU, if there is one, let it through. Naively:
 *     for each window and filter k: if out > 0: append (dout, patch of the winner) to the list of filter k,
 *                                               append (dout, k) to the list of that pixel.
 * Whether a ReLU let something through is a coin's throw, so the filters that are left are gathered without a branch.
 * */
static void NAMED(list_gradients)(const conv_shape *s, const void *dout_, const void *out_, image_layout layout,
                                  const uint8_t *places, conv_lists lists)
{
    const REAL *dout = dout_, *out = out_;
    NAMED(conv_entry) *by_filter = lists.by_filter, *by_pixel = lists.by_pixel;
    const ptrdiff_t n_places = s->pool * s->pool, n_windows = s->h_out * s->w_out;
    ptrdiff_t from_corner[PLACES];
    int32_t next[PLACES], n_listed = 0;
    NAMED(places_from_corner)(s, from_corner);

    memset(lists.n_of_filter, 0, (size_t)s->n_filter * sizeof(int32_t));
    for (ptrdiff_t window = 0; window < n_windows; window++) {
        const ptrdiff_t y = window / s->w_out, x = window % s->w_out;
        const int32_t corner = (int32_t)((y * s->padded_row + x * s->n_channels) * s->pool * s->stride);
        const REAL *g = dout + window * layout.pixel_stride, *o = out + window * layout.pixel_stride;
        const uint8_t *place = places + window * s->n_filter;
        ptrdiff_t n_alive = 0;
        for (ptrdiff_t k = 0; k < s->n_filter; k++) {
            lists.alive[n_alive] = (int32_t)k;
            n_alive += !(s->relu && o[k * layout.channel_stride] <= 0);
        }
        for (ptrdiff_t p = 0; p < n_places; p++)
            next[p] = 0;
        for (ptrdiff_t i = 0; i < n_alive; i++) {
            const int32_t k = lists.alive[i];
            NAMED(conv_entry) *entry = by_filter + k * n_windows + lists.n_of_filter[k]++;
            entry->value = g[k * layout.channel_stride];
            entry->where = corner + (int32_t)from_corner[place[k]];
            next[place[k]]++;
        }
        for (ptrdiff_t p = 0; p < n_places; p++) {
            conv_pixel *pixel = lists.pixels + window * n_places + p;
            pixel->patch = corner + (int32_t)from_corner[p];
            pixel->first = n_listed;
            pixel->n = next[p];
            next[p] = n_listed;
            n_listed += pixel->n;
        }
        for (ptrdiff_t i = 0; i < n_alive; i++) {
            const int32_t k = lists.alive[i];
            NAMED(conv_entry) *entry = by_pixel + next[place[k]]++;
            entry->value = g[k * layout.channel_stride];
            entry->where = k;
        }
    }
    NAMED(sort_pixels)(s, lists);
}

/* dw[row][v] += value * patch[row][v] for n_rows rows of n vectors, over all entries; the sums stay in registers. */
static ALWAYS_INLINE void NAMED(sum_patches)(const REAL *padded, ptrdiff_t padded_row, const NAMED(conv_entry) *entry,
                                             const NAMED(conv_entry) *end, REAL *dw, ptrdiff_t dw_row, int n_rows,
                                             int n)
{
    NAMED(vec) sum[5][10];
    for (int row = 0; row < n_rows; row++)
        for (int v = 0; v < n; v++)
            sum[row][v] = NAMED(load)(dw + row * dw_row + v * LANES);
    for (; entry < end; entry++) {
        const REAL *patch = padded + entry->where;
        NAMED(vec) value = NAMED(broadcast)(entry->value);
        for (int row = 0; row < n_rows; row++, patch += padded_row)
            for (int v = 0; v < n; v++)
                sum[row][v] = NAMED(fma_add)(value, NAMED(load)(patch + v * LANES), sum[row][v]);
    }
    for (int row = 0; row < n_rows; row++)
        for (int v = 0; v < n; v++)
            NAMED(store)(dw + row * dw_row + v * LANES, sum[row][v]);
}

/* The same with a number of rows that is known here, as far as their sums fit the registers. */
static ALWAYS_INLINE void NAMED(sum_rows)(const REAL *padded, ptrdiff_t padded_row, const NAMED(conv_entry) *entry,
                                          const NAMED(conv_entry) *end, REAL *dw, ptrdiff_t dw_row, ptrdiff_t n_rows,
                                          int n)
{
    if (5 * n <= SUMS_AT_ONCE && n_rows == 5)
        NAMED(sum_patches)(padded, padded_row, entry, end, dw, dw_row, 5, n);
    else if (3 * n <= SUMS_AT_ONCE && n_rows == 3)
        NAMED(sum_patches)(padded, padded_row, entry, end, dw, dw_row, 3, n);
    else if (2 * n <= SUMS_AT_ONCE && n_rows == 2)
        NAMED(sum_patches)(padded, padded_row, entry, end, dw, dw_row, 2, n);
    else {
        assert(n_rows == 1);
        NAMED(sum_patches)(padded, padded_row, entry, end, dw, dw_row, 1, n);
    }
}

/* How many of the rows that are left are summed at once, in n vectors each: 1, 2, 3 or 5. */
static ptrdiff_t NAMED(rows_at_once)(ptrdiff_t left, ptrdiff_t n)
{
    static const int numbers[] = {5, 3, 2};
    for (int i = 0; i < 3; i++)
        if (numbers[i] <= left && numbers[i] * n <= SUMS_AT_ONCE)
            return numbers[i];
    return 1;
}

/* Four sums, so that they do not wait for each other. */
static REAL NAMED(sum_values)(const NAMED(conv_entry) *entry, const NAMED(conv_entry) *end)
{
    REAL sum[4] = {0};
    for (; entry + 4 <= end; entry += 4)
        for (int i = 0; i < 4; i++)
            sum[i] += entry[i].value;
    for (; entry < end; entry++)
        sum[0] += entry->value;
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Naively, for each filter k and each of its gradients: dw[k] += value * patch, db[k] += value. The rows of a patch are
 * cut into vectors (the last of a row may reach past it: those lanes are never read), and as many of dw[k] as the
 * registers hold stay there over all the gradients of a filter. */
static void NAMED(sparse_weight_gradient)(const conv_shape *s, const void *padded_, conv_lists lists, void *dw_,
                                          void *db_)
{
    const ptrdiff_t n_windows = s->h_out * s->w_out, in_row = s->run_padded / LANES, dw_row = s->run_padded;
    const ptrdiff_t parts = (in_row + 9) / 10, in_part = (in_row + parts - 1) / parts;
    REAL *db = db_;
    for (ptrdiff_t first = 0, n; first < in_row; first += n) {
        n = in_row - first < in_part ? in_row - first : in_part;
        for (ptrdiff_t ky = 0, rows; ky < s->h_filter; ky += rows) {
            const REAL *padded = (const REAL *)padded_ + ky * s->padded_row + first * LANES;
            rows = NAMED(rows_at_once)(s->h_filter - ky, n);
            for (ptrdiff_t k = 0; k < s->n_filter; k++) {
                const NAMED(conv_entry) *begin = (const NAMED(conv_entry) *)lists.by_filter + k * n_windows;
                const NAMED(conv_entry) *end = begin + lists.n_of_filter[k];
                REAL *dw = (REAL *)dw_ + (k * s->h_filter + ky) * dw_row + first * LANES;
                switch (n) {
                case 10: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 10); break;
                case 9: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 9); break;
                case 8: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 8); break;
                case 7: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 7); break;
                case 6: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 6); break;
                case 5: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 5); break;
                case 4: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 4); break;
                case 3: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 3); break;
                case 2: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 2); break;
                default: NAMED(sum_rows)(padded, s->padded_row, begin, end, dw, dw_row, rows, 1); break;
                }
                if (first == 0 && ky == 0)
                    db[k] += NAMED(sum_values)(begin, end);
            }
        }
    }
}

/* For each gradient of an image as it comes: dw[k] += value * patch, whose n_rows rows are in_row vectors each; db[k]
 * += value. */
static ALWAYS_INLINE void NAMED(add_patches)(const conv_shape *s, const REAL *padded, const REAL *dout, const REAL *out,
                                             image_layout layout, const uint8_t *places, REAL *dw, REAL *db,
                                             ptrdiff_t n_rows, ptrdiff_t in_row)
{
    /* Read once: for all C knows, dw might lie over *s. */
    const ptrdiff_t padded_row = s->padded_row, n_filter = s->n_filter;
    ptrdiff_t from_corner[PLACES];
    NAMED(places_from_corner)(s, from_corner);
    for (ptrdiff_t window = 0; window < s->h_out * s->w_out; window++, places += n_filter) {
        const ptrdiff_t y = window / s->w_out, x = window % s->w_out, at = window * layout.pixel_stride;
        const REAL *corner = padded + (y * padded_row + x * s->n_channels) * s->pool * s->stride;
        for (ptrdiff_t first = 0; first < n_filter; first += 32) {
            /* Of 32 filters: the end of the loop over them is a surprise, so one loop for many. */
            unsigned alive = s->relu ? 0 : ~0u >> (n_filter - first < 32 ? 32 - (n_filter - first) : 0);
            for (ptrdiff_t k = first; s->relu && k < n_filter && k < first + 32; k += LANES) {
                const NAMED(vec) outs =
                    NAMED(gather)(out + at + k * layout.channel_stride, layout.channel_stride, n_filter - k);
                alive |= NAMED(bits_of)(~(outs <= 0)) << (k - first);
            }
            for (; alive; alive &= alive - 1) {
                const ptrdiff_t k = first + __builtin_ctz(alive);
                const REAL value = dout[at + k * layout.channel_stride], *patch = corner + from_corner[places[k]];
                REAL *to = dw + k * n_rows * in_row * LANES;
                for (ptrdiff_t row = 0; row < n_rows; row++)
                    for (ptrdiff_t v = 0; v < in_row; v++, to += LANES)
                        NAMED(store)(to, NAMED(fma_add)(NAMED(broadcast)(value),
                                                        NAMED(load)(patch + row * padded_row + v * LANES),
                                                        NAMED(load)(to)));
                db[k] += value;
            }
        }
    }
}

/* Where patches are narrow, as in a first layer whose images have one channel, and nobody wants dX, a list costs more
 * than it saves. Returns whether it was so: by a rule that does not know the vectors, since db is summed in another
 * order. */
static int NAMED(narrow_weight_gradient)(const conv_shape *s, const void *padded, const void *dout, const void *out,
                                         image_layout layout, const uint8_t *places, void *dw, void *db)
{
    const ptrdiff_t in_row = s->run_padded / LANES;
    if (s->run > 8)
        return 0;
    if (in_row == 1 && s->h_filter == 3)
        NAMED(add_patches)(s, padded, dout, out, layout, places, dw, db, 3, 1);
    else if (in_row == 1 && s->h_filter == 5)
        NAMED(add_patches)(s, padded, dout, out, layout, places, dw, db, 5, 1);
    else
        NAMED(add_patches)(s, padded, dout, out, layout, places, dw, db, s->h_filter, in_row);
    return 1;
}

/* patch[i] += value * filter[i] for n vectors i, for each pixel over all its entries; the n sums stay in registers. The
 * last vector adds the lanes of `last` alone. */
static ALWAYS_INLINE void NAMED(sum_filters)(conv_lists lists, ptrdiff_t n_pixels, const REAL *filters,
                                             ptrdiff_t patch_size, REAL *dpadded, NAMED(mask) last, int n)
{
    for (ptrdiff_t i = 0; i < n_pixels; i++) {
        const conv_pixel pixel = lists.sorted[i];
        const NAMED(conv_entry) *entry = (const NAMED(conv_entry) *)lists.by_pixel + pixel.first;
        const NAMED(conv_entry) *end = entry + pixel.n;
        REAL *patch = dpadded + pixel.patch;
        NAMED(vec) sum[SUMS_AT_ONCE] = {{0}};
        if (pixel.n == 0)
            continue;
        for (; entry < end; entry++) {
            const REAL *filter = filters + entry->where * patch_size;
            NAMED(vec) value = NAMED(broadcast)(entry->value);
            for (int v = 0; v < n; v++)
                sum[v] = NAMED(fma_add)(value, NAMED(load)(filter + v * LANES), sum[v]);
        }
        for (int v = 0; v < n - 1; v++)
            NAMED(store)(patch + v * LANES, NAMED(load)(patch + v * LANES) + sum[v]);
        NAMED(add_lanes)(patch + (n - 1) * LANES, sum[n - 1], last);
    }
}

/* Naively, for each pixel and each of its gradients: dpadded[patch] += value * filter. The gradients of a pixel share
 * the loads and stores of its patch. Part by part of a row of the filters, so that this part of all filters stays in
 * the fastest cache. A part is a number of bytes, not of vectors: patches overlap, and it sets the order in which they
 * are added up. */
static void NAMED(sparse_input_gradient)(const conv_shape *s, conv_lists lists, const void *back, void *dpadded_)
{
    const ptrdiff_t n_pixels = s->h_out * s->w_out * s->pool * s->pool, patch_size = s->h_filter * s->run_padded;
    const ptrdiff_t sums_bytes = SUMS_AT_ONCE * VECTOR_BYTES < 320 ? SUMS_AT_ONCE * VECTOR_BYTES : 320;
    const ptrdiff_t line = LINE / (ptrdiff_t)sizeof(REAL), lines = sums_bytes / LINE;
    const ptrdiff_t n_parts = (s->run + lines * line - 1) / (lines * line);
    const ptrdiff_t part = ((s->run + n_parts - 1) / n_parts + line - 1) / line * line;
    REAL *dpadded = dpadded_;
    memset(dpadded, 0, (size_t)s->padded_size * sizeof(REAL));
    for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
        for (ptrdiff_t column = 0; column < s->run; column += part) {
            const ptrdiff_t numbers = s->run - column < part ? s->run - column : part;
            const ptrdiff_t n_vectors = (numbers + LANES - 1) / LANES;
            const NAMED(mask) last = NAMED(lanes_of_run)(s, column + (n_vectors - 1) * LANES);
            const REAL *filters = (const REAL *)back + ky * s->run_padded + column;
            REAL *to = dpadded + ky * s->padded_row + column;
            switch (n_vectors) {
#if SUMS_AT_ONCE == 20
            case 20: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 20); break;
            case 19: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 19); break;
            case 18: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 18); break;
            case 17: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 17); break;
            case 16: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 16); break;
            case 15: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 15); break;
            case 14: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 14); break;
            case 13: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 13); break;
            case 12: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 12); break;
            case 11: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 11); break;
#endif
            case 10: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 10); break;
            case 9: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 9); break;
            case 8: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 8); break;
            case 7: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 7); break;
            case 6: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 6); break;
            case 5: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 5); break;
            case 4: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 4); break;
            case 3: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 3); break;
            case 2: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 2); break;
            default: NAMED(sum_filters)(lists, n_pixels, filters, patch_size, to, last, 1); break;
            }
        }
}
