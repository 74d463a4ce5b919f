/* The body of the matrix product, for one precision and one instruction set; see matmul.h. */

#include "simd.h"

#include <string.h>

enum { NAMED(terms_at_once) = 256 }; /* so many rows of two vectors of b stay in the fastest cache */

/* n_rows rows and n_vectors vectors of columns, for the terms [k, k_end). Naively, for each row r and column j:
 *     for each k: sum[r][j] += a[r * a_row + k * a_term] * b[k * b_row + j].
 * The sums stay in registers; a step loads n_vectors of b and spreads a number of each row. */
static ALWAYS_INLINE void NAMED(multiply_tile)(const matmul_problem *p, const REAL *const *a, const REAL *b,
                                               ptrdiff_t k, ptrdiff_t k_end, NAMED(vec) (*sum)[2], int n_rows,
                                               int n_vectors)
{
    NAMED(vec) local[TILE_ROWS][2];
    for (int r = 0; r < n_rows; r++)
        for (int v = 0; v < n_vectors; v++)
            local[r][v] = sum[r][v];
    for (; k < k_end; k++) {
        NAMED(vec) b0 = NAMED(load)(b + k * p->b_row);
        NAMED(vec) b1 = n_vectors > 1 ? NAMED(load)(b + k * p->b_row + LANES) : b0;
        for (int r = 0; r < n_rows; r++) {
            NAMED(vec) number = NAMED(broadcast)(a[r][k * p->a_term]);
            local[r][0] = NAMED(fma_add)(number, b0, local[r][0]);
            if (n_vectors > 1)
                local[r][1] = NAMED(fma_add)(number, b1, local[r][1]);
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int v = 0; v < n_vectors; v++)
            sum[r][v] = local[r][v];
}

/* The terms [k, k_end) of all rows, in tiles as high as the rows that are left. */
static void NAMED(multiply_terms)(const matmul_problem *p, ptrdiff_t row_begin, ptrdiff_t row_end, const REAL *b,
                                  ptrdiff_t k, ptrdiff_t k_end, NAMED(vec) (*sum)[2], int n_vectors)
{
    for (ptrdiff_t row = row_begin; row < row_end; row += TILE_ROWS, sum += TILE_ROWS) {
        const ptrdiff_t left = row_end - row;
        const REAL *a[TILE_ROWS];
        for (ptrdiff_t r = 0; r < TILE_ROWS; r++) /* past the end, the last row once more */
            a[r] = (const REAL *)p->a + (r < left ? row + r : row_end - 1) * p->a_row;
        if (n_vectors > 1) {
            if (left > 4)
                NAMED(multiply_tile)(p, a, b, k, k_end, sum, TILE_ROWS, 2);
            else if (left > 1)
                NAMED(multiply_tile)(p, a, b, k, k_end, sum, 4, 2);
            else
                NAMED(multiply_tile)(p, a, b, k, k_end, sum, 1, 2);
        } else if (left > 4)
            NAMED(multiply_tile)(p, a, b, k, k_end, sum, TILE_ROWS, 1);
        else if (left > 1)
            NAMED(multiply_tile)(p, a, b, k, k_end, sum, 4, 1);
        else
            NAMED(multiply_tile)(p, a, b, k, k_end, sum, 1, 1);
    }
}

/* The terms are taken in stretches, each for all rows before the next: a stretch of b is read from the fastest cache
 * by all but the first. The order of a sum is not changed by it. */
static void NAMED(multiply)(const matmul_problem *p, ptrdiff_t row_begin, ptrdiff_t row_end, ptrdiff_t column)
{
    NAMED(vec) sum[MATMUL_ROWS + TILE_ROWS][2]; /* the last tile may be cut short */
    const REAL *b = (const REAL *)p->b + column;
    const ptrdiff_t left = p->n_columns - column;
    const int n_vectors = left > LANES ? 2 : 1;
    /* Vectors may read past the end of a row of b, into the next ones, but not past the last: the terms from n_safe on
     * are read from a copy with room behind them. */
    const ptrdiff_t room = p->n_terms * p->b_row - column - n_vectors * LANES;
    const ptrdiff_t n_safe = room < 0 ? 0 : room / p->b_row + 1;

    memset(sum, 0, (size_t)(row_end - row_begin + TILE_ROWS) * sizeof(sum[0]));
    for (ptrdiff_t k = 0; k < n_safe; k += NAMED(terms_at_once)) {
        ptrdiff_t k_end = k + NAMED(terms_at_once) < n_safe ? k + NAMED(terms_at_once) : n_safe;
        NAMED(multiply_terms)(p, row_begin, row_end, b, k, k_end, sum, n_vectors);
    }
    if (n_safe < p->n_terms) { /* fewer than a vector pair has lanes */
        REAL copy[2 * VECTOR_BYTES / sizeof(REAL)][2 * VECTOR_BYTES / sizeof(REAL)] = {{0}};
        matmul_problem rest = *p;
        rest.a = (const REAL *)p->a + n_safe * p->a_term;
        rest.b_row = 2 * LANES;
        for (ptrdiff_t k = n_safe; k < p->n_terms; k++)
            memcpy(copy[k - n_safe], b + k * p->b_row, (size_t)(left < 2 * LANES ? left : 2 * LANES) * sizeof(REAL));
        NAMED(multiply_terms)(&rest, row_begin, row_end, copy[0], 0, p->n_terms - n_safe, sum, n_vectors);
    }

    for (int v = 0; v < n_vectors; v++) {
        const ptrdiff_t first = column + v * LANES, n = left - v * LANES < LANES ? left - v * LANES : LANES;
        REAL *c = (REAL *)p->c + row_begin * p->c_row + first * p->c_column;
        if (p->c_column == 1) {
            const NAMED(vec) bias = p->bias ? NAMED(load_some)((const REAL *)p->bias + first, n) : (NAMED(vec)){0};
            for (ptrdiff_t row = row_begin; row < row_end; row++, c += p->c_row)
                NAMED(store_some)(c, n, p->bias ? sum[row - row_begin][v] + bias : sum[row - row_begin][v]);
            continue;
        }
        for (ptrdiff_t lane = 0; lane < n; lane++)
            for (ptrdiff_t row = 0; row < row_end - row_begin; row++) {
                REAL bias = p->bias ? ((const REAL *)p->bias)[first + lane] : 0;
                c[row * p->c_row + lane * p->c_column] = p->bias ? sum[row][v][lane] + bias : sum[row][v][lane];
            }
    }
}

const matmul_kernels NAMED(matmul) = {LANES, NAMED(multiply)};
