/* The sums of products of both ways to the weights' gradient, over pixels or over tiles. Included by bodies of kernels,
 * behind simd.h. */

/* Where the factors lie: on the left a pixel's gradients, one for each row of sums, on the right its patch, one for
 * each column; or a tile's values of both. */
typedef struct {
    const REAL *left, *right;
    ptrdiff_t left_step, right_step; /* from one pixel to the next */
    ptrdiff_t right_line;            /* from one line of pixels to the next; on the left it follows the last */
    ptrdiff_t n_lines, n_in_line;
} NAMED(factors);

/* n_rows rows and n_vectors vectors of columns:
 *     sums[row][column] += sum over pixels of left[pixel][row] * right[pixel][column]. */
static ALWAYS_INLINE void NAMED(add_products_of_tile)(const NAMED(factors) *f, ptrdiff_t row, ptrdiff_t column,
                                                      REAL *sums, ptrdiff_t sum_step, int n_rows, int n_vectors)
{
    const REAL *left = f->left + row;
    const ptrdiff_t left_step = f->left_step, right_step = f->right_step, n_in_line = f->n_in_line;
    NAMED(vec) sum[TILE_ROWS][2];
    sums += row * sum_step + column;
    for (int r = 0; r < n_rows; r++)
        for (int v = 0; v < n_vectors; v++)
            sum[r][v] = NAMED(load)(sums + r * sum_step + v * LANES);
    for (ptrdiff_t line = 0; line < f->n_lines; line++) {
        const REAL *right = f->right + line * f->right_line + column;
        for (ptrdiff_t i = 0; i < n_in_line; i++) {
            NAMED(vec) r0 = NAMED(load)(right), r1 = n_vectors > 1 ? NAMED(load)(right + LANES) : r0;
            for (int r = 0; r < n_rows; r++) {
                NAMED(vec) number = NAMED(broadcast)(left[r]);
                sum[r][0] = NAMED(fma_add)(number, r0, sum[r][0]);
                if (n_vectors > 1)
                    sum[r][1] = NAMED(fma_add)(number, r1, sum[r][1]);
            }
            left += left_step;
            right += right_step;
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int v = 0; v < n_vectors; v++)
            NAMED(store)(sums + r * sum_step + v * LANES, sum[r][v]);
}

/* The same for a number of rows that is one of these four. */
static ALWAYS_INLINE void NAMED(add_products_of_rows)(const NAMED(factors) *f, ptrdiff_t row, ptrdiff_t column,
                                                      REAL *sums, ptrdiff_t sum_step, ptrdiff_t n_rows, int n_vectors)
{
    if (n_rows == TILE_ROWS)
        NAMED(add_products_of_tile)(f, row, column, sums, sum_step, TILE_ROWS, n_vectors);
    else if (n_rows == 4)
        NAMED(add_products_of_tile)(f, row, column, sums, sum_step, 4, n_vectors);
    else if (n_rows == 2)
        NAMED(add_products_of_tile)(f, row, column, sums, sum_step, 2, n_vectors);
    else
        NAMED(add_products_of_tile)(f, row, column, sums, sum_step, 1, n_vectors);
}

/* All rows and columns, of these whole vectors. */
static void NAMED(add_products)(const NAMED(factors) *f, ptrdiff_t n_rows, ptrdiff_t n_columns, REAL *sums,
                                ptrdiff_t sum_step)
{
    for (ptrdiff_t row = 0, at_once; row < n_rows; row += at_once) {
        const ptrdiff_t left = n_rows - row;
        at_once = left >= TILE_ROWS ? TILE_ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        for (ptrdiff_t column = 0; column < n_columns; column += 2 * LANES)
            if (n_columns - column > LANES)
                NAMED(add_products_of_rows)(f, row, column, sums, sum_step, at_once, 2);
            else
                NAMED(add_products_of_rows)(f, row, column, sums, sum_step, at_once, 1);
    }
}
