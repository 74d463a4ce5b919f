/* The way back of the convolution: lists of gradients, and the sums over them. Included by conv_body.h. */

/* With pooling, only the winner of a window has a gradient, and only if the ReLU let it through. */
static void NAMED(list_by_filter)(const conv_shape *s, const void *dout_, const void *out_, conv_layout layout,
                                  const uint8_t *places, void *entries_, ptrdiff_t *starts)
{
    const REAL *dout = dout_, *out = out_;
    NAMED(conv_entry) *entries = entries_;
    NAMED(conv_entry) *entry = entries;
    ptrdiff_t from_window[256]; /* from a window's first pixel to each of its places; a place fits a byte */
    for (ptrdiff_t place = 0; place < s->pool * s->pool; place++)
        from_window[place] = (place / s->pool * s->padded_row + place % s->pool * s->n_channels) * s->stride;

    for (ptrdiff_t k = 0; k < s->n_filter; k++) {
        starts[k] = entry - entries;
        const REAL *g = dout + k * layout.channel_stride;
        const REAL *o = s->pool > 1 ? out + k * layout.channel_stride : NULL;
        ptrdiff_t i = 0;
        for (ptrdiff_t y = 0; y < s->h_out; y++) {
            ptrdiff_t window = y * s->pool * s->stride * s->padded_row;
            for (ptrdiff_t x = 0; x < s->w_out; x++, i++, window += s->pool * s->stride * s->n_channels) {
                entry->patch = window + (s->pool > 1 ? from_window[places[i * s->n_filter + k]] : 0);
                entry->filter = k;
                entry->value = g[i * layout.pixel_stride];
                /* Without a branch: whether a ReLU let something through is a coin's throw. */
                entry += s->pool == 1 || !(o[i * layout.pixel_stride] <= 0);
            }
        }
    }
    starts[s->n_filter] = entry - entries;
}

/* dw[i] += value * patch[offset[i]] for n vectors i, over all entries; the n sums stay in registers. */
static ALWAYS_INLINE void NAMED(sum_patches)(const REAL *padded, const NAMED(conv_entry) *entry,
                                             const NAMED(conv_entry) *end, const ptrdiff_t *offset, REAL *const *dw, int n)
{
    NAMED(vec) sum[10];
    for (int i = 0; i < n; i++)
        sum[i] = NAMED(load)(dw[i]);
    for (; entry < end; entry++) {
        const REAL *patch = padded + entry->patch;
        NAMED(vec) value = NAMED(broadcast)(entry->value);
        for (int i = 0; i < n; i++)
            sum[i] = NAMED(fma_add)(value, NAMED(load)(patch + offset[i]), sum[i]);
    }
    for (int i = 0; i < n; i++)
        NAMED(store)(dw[i], sum[i]);
}

/* Naively, for each filter k and each of its gradients: dw[k] += value * patch, db[k] += value. A patch is cut into
 * vectors, row by row (the last of a row may reach past it: those lanes are never read), and ten vectors of dw are
 * kept in registers over all the gradients of a filter. */
static void NAMED(weight_gradient)(const conv_shape *s, const void *padded, const void *entries_,
                                   const ptrdiff_t *starts, void *dw_, void *db_)
{
    const NAMED(conv_entry) *entries = entries_;
    REAL *dw = dw_, *db = db_;
    const ptrdiff_t in_row = s->run_padded / LANES, in_patch = s->h_filter * in_row;
    for (ptrdiff_t k = 0; k < s->n_filter; k++) {
        const NAMED(conv_entry) *begin = entries + starts[k], *end = entries + starts[k + 1];
        for (const NAMED(conv_entry) *entry = begin; entry < end; entry++)
            db[k] += entry->value;
        for (ptrdiff_t first = 0; first < in_patch; first += 10) {
            ptrdiff_t offset[10];
            REAL *to[10];
            int n = in_patch - first < 10 ? (int)(in_patch - first) : 10;
            for (int i = 0; i < n; i++) {
                ptrdiff_t ky = (first + i) / in_row, column = (first + i) % in_row * LANES;
                offset[i] = ky * s->padded_row + column;
                to[i] = dw + (ky * s->n_filter + k) * s->run_padded + column;
            }
            switch (n) {
            case 10: NAMED(sum_patches)(padded, begin, end, offset, to, 10); break;
            case 9: NAMED(sum_patches)(padded, begin, end, offset, to, 9); break;
            case 8: NAMED(sum_patches)(padded, begin, end, offset, to, 8); break;
            case 7: NAMED(sum_patches)(padded, begin, end, offset, to, 7); break;
            case 6: NAMED(sum_patches)(padded, begin, end, offset, to, 6); break;
            case 5: NAMED(sum_patches)(padded, begin, end, offset, to, 5); break;
            case 4: NAMED(sum_patches)(padded, begin, end, offset, to, 4); break;
            case 3: NAMED(sum_patches)(padded, begin, end, offset, to, 3); break;
            case 2: NAMED(sum_patches)(padded, begin, end, offset, to, 2); break;
            default: NAMED(sum_patches)(padded, begin, end, offset, to, 1); break;
            }
        }
    }
}

/* A counting sort by pixel of the convolution; within a pixel the filters stay in order. */
static void NAMED(sort_by_patch)(const conv_shape *s, const void *entries_, ptrdiff_t n_entries, void *sorted_,
                                 ptrdiff_t *counts)
{
    const NAMED(conv_entry) *entries = entries_;
    NAMED(conv_entry) *sorted = sorted_;
    const ptrdiff_t n = s->padded_size / s->n_channels + 1;
    memset(counts, 0, (size_t)n * sizeof(ptrdiff_t));
    for (ptrdiff_t i = 0; i < n_entries; i++)
        counts[entries[i].patch / s->n_channels]++;
    for (ptrdiff_t i = 0, start = 0; i < n; i++) {
        ptrdiff_t count = counts[i];
        counts[i] = start;
        start += count;
    }
    for (ptrdiff_t i = 0; i < n_entries; i++)
        sorted[counts[entries[i].patch / s->n_channels]++] = entries[i];
}

/* to[i] += sum over entries of value * filter row [i], for n vectors, kept in registers. */
static ALWAYS_INLINE void NAMED(sum_filters)(const NAMED(conv_entry) *entry, const NAMED(conv_entry) *end,
                                             const REAL *rows, ptrdiff_t row_size, REAL *to, int n)
{
    NAMED(vec) sum[10];
    for (int i = 0; i < n; i++)
        sum[i] = NAMED(load)(to + i * LANES);
    for (; entry < end; entry++) {
        const REAL *row = rows + entry->filter * row_size;
        NAMED(vec) value = NAMED(broadcast)(entry->value);
        for (int i = 0; i < n; i++)
            sum[i] = NAMED(fma_add)(value, NAMED(load)(row + i * LANES), sum[i]);
    }
    for (int i = 0; i < n; i++)
        NAMED(store)(to + i * LANES, sum[i]);
}

/* Naively, for each gradient: dpadded[patch] += value * filter. Row by row of the filters, so that one row of all of them
 * stays in the fastest cache; the gradients of one pixel share the loads and stores of its patch. The lanes that fill a
 * row up add zeros. */
static void NAMED(input_gradient)(const conv_shape *s, const void *sorted_, ptrdiff_t n_entries, const void *back_,
                                  void *dpadded_)
{
    const NAMED(conv_entry) *sorted = sorted_;
    const REAL *back = back_;
    REAL *dpadded = dpadded_;
    const NAMED(conv_entry) *end = sorted + n_entries;
    memset(dpadded, 0, (size_t)s->padded_size * sizeof(REAL));
    for (ptrdiff_t ky = 0; ky < s->h_filter; ky++) {
        const REAL *rows = back + ky * s->n_filter * s->run_padded;
        for (const NAMED(conv_entry) *entry = sorted, *next; entry < end; entry = next) {
            for (next = entry + 1; next < end && next->patch == entry->patch;)
                next++;
            REAL *to = dpadded + entry->patch + ky * s->padded_row;
            for (ptrdiff_t column = 0; column < s->run_padded;) {
                ptrdiff_t n = (s->run_padded - column) / LANES;
                if (n >= 10) {
                    NAMED(sum_filters)(entry, next, rows + column, s->run_padded, to + column, 10);
                    column += 10 * LANES;
                } else if (n >= 4) {
                    NAMED(sum_filters)(entry, next, rows + column, s->run_padded, to + column, 4);
                    column += 4 * LANES;
                } else {
                    NAMED(sum_filters)(entry, next, rows + column, s->run_padded, to + column, 1);
                    column += LANES;
                }
            }
        }
    }
}
