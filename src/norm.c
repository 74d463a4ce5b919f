/* Batch normalization: norm_body.h for every instruction set. */
#include "norm.h"

#define BODY "norm_body.h"
#include "every_set.h"

const norm_kernels *norm_table(int set, int real_bytes)
{
    static const norm_kernels *const tables[][2] = TABLES_OF_EVERY_SET(norm);
    return tables[set][real_bytes == 8];
}
