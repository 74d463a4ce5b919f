/* The matrix product: matmul_body.h for every instruction set. */
#include "matmul.h"

#define BODY "matmul_body.h"
#include "every_set.h"

const matmul_kernels *matmul_table(int set, int real_bytes)
{
    static const matmul_kernels *const tables[][2] = TABLES_OF_EVERY_SET(matmul);
    return tables[set][real_bytes == 8];
}
