/* The convolution: conv_body.h for every instruction set. */
#include "conv.h"

#define BODY "conv_body.h"
#include "every_set.h"

const conv_kernels *conv_table(int set, int real_bytes)
{
    static const conv_kernels *const tables[][2] = TABLES_OF_EVERY_SET(conv);
    return tables[set][real_bytes == 8];
}
