/* The matrix product of the dense layers: c[i, j] = bias[j] + sum over k of a[i, k] * b[k, j].
 *
 * Each number is one sum in the order of k, so it does not depend on how many rows or columns the product has, nor on
 * who computes which of them. `a` and `c` may lie in memory in either order of their axes; the rows of `b` are
 * contiguous.
 */
#ifndef CNN_EXT_MATMUL_H
#define CNN_EXT_MATMUL_H

#include <stddef.h>

enum { MATMUL_ROWS = 96 }; /* at most as many rows are computed by one call */

typedef struct {
    const void *a, *b, *bias; /* bias may be NULL */
    void *c;
    ptrdiff_t n_rows, n_columns, n_terms; /* of c, of c, of each sum */
    ptrdiff_t a_row, a_term, b_row;       /* from one to the next, in numbers */
    ptrdiff_t c_row, c_column;
} matmul_problem;

typedef struct {
    ptrdiff_t lanes;
    /* Compute rows [row_begin, row_end) of the columns [column, column + 2 vectors). */
    void (*multiply)(const matmul_problem *p, ptrdiff_t row_begin, ptrdiff_t row_end, ptrdiff_t column);
} matmul_kernels;

/* The kernels of an instruction set (SET_...) in the precision of so many bytes. */
const matmul_kernels *matmul_table(int set, int real_bytes);

#endif
