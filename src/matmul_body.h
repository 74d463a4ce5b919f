/* The body of the matrix product, for one precision and one instruction set; see matmul.h. */

#include "simd.h"

#include <string.h>

enum { NAMED(terms_at_once) = 256 }; /* so many rows of two vectors of b stay in the fastest cache */

/* Six rows and n_vectors vectors of columns, for the terms [k, k_end). Naively, for each row r and column j:
 *     for each k: sum[r][j] += a[r * a_row + k * a_term] * b[k * b_row + j].
 * The sums stay in registers; a step loads n_vectors of b and spreads six numbers of a. */
static inline __attribute__((always_inline)) void NAMED(multiply_tile)(const matmul_problem *p, const REAL *const *a,
                                                                       const REAL *b, ptrdiff_t k, ptrdiff_t k_end,
                                                                       NAMED(vec) (*sum)[2], int n_vectors)
{
    NAMED(vec) local[6][2];
    for (int r = 0; r < 6; r++)
        for (int v = 0; v < n_vectors; v++)
            local[r][v] = sum[r][v];
    for (; k < k_end; k++) {
        NAMED(vec) b0 = NAMED(load)(b + k * p->b_row);
        NAMED(vec) b1 = n_vectors > 1 ? NAMED(load)(b + k * p->b_row + LANES) : b0;
        for (int r = 0; r < 6; r++) {
            NAMED(vec) number = NAMED(broadcast)(a[r][k * p->a_term]);
            local[r][0] = NAMED(fma_add)(number, b0, local[r][0]);
            if (n_vectors > 1)
                local[r][1] = NAMED(fma_add)(number, b1, local[r][1]);
        }
    }
    for (int r = 0; r < 6; r++)
        for (int v = 0; v < n_vectors; v++)
            sum[r][v] = local[r][v];
}

/* The terms are taken in stretches, each for all rows before the next: a stretch of b is read from the fastest cache
 * by all but the first. The order of a sum is not changed by it. */
static void NAMED(multiply)(const matmul_problem *p, ptrdiff_t row_begin, ptrdiff_t row_end, ptrdiff_t column)
{
    NAMED(vec) sum[MATMUL_ROWS][2];
    const REAL *b = (const REAL *)p->b + column;
    const int n_vectors = p->n_columns - column > LANES ? 2 : 1;

    memset(sum, 0, sizeof(sum));
    for (ptrdiff_t k = 0; k < p->n_terms; k += NAMED(terms_at_once)) {
        ptrdiff_t k_end = k + NAMED(terms_at_once) < p->n_terms ? k + NAMED(terms_at_once) : p->n_terms;
        for (ptrdiff_t row = row_begin; row < row_end; row += 6) {
            const REAL *a[6];
            for (ptrdiff_t r = 0; r < 6; r++) /* past the end, the last row once more */
                a[r] = (const REAL *)p->a + (row + r < row_end ? row + r : row_end - 1) * p->a_row;
            if (n_vectors > 1)
                NAMED(multiply_tile)(p, a, b, k, k_end, sum + (row - row_begin), 2);
            else
                NAMED(multiply_tile)(p, a, b, k, k_end, sum + (row - row_begin), 1);
        }
    }
    for (ptrdiff_t row = row_begin; row < row_end; row++)
        for (int v = 0; v < n_vectors; v++) {
            ptrdiff_t first = column + v * LANES;
            REAL *c = (REAL *)p->c + row * p->c_row + first * p->c_column;
            if (p->c_column == 1 && !p->bias && first + LANES <= p->n_columns) {
                NAMED(store)(c, sum[row - row_begin][v]);
                continue;
            }
            REAL numbers[sizeof(NAMED(vec)) / sizeof(REAL)];
            NAMED(store)(numbers, sum[row - row_begin][v]);
            for (ptrdiff_t lane = 0; lane < LANES && first + lane < p->n_columns; lane++)
                c[lane * p->c_column] = numbers[lane] + (p->bias ? ((const REAL *)p->bias)[first + lane] : 0);
        }
}

const matmul_kernels NAMED(matmul) = {LANES, NAMED(multiply)};

#undef LANES
#undef TILE_ROWS
#undef SUMS_AT_ONCE
