/* Winograd's convolution: winograd_body.h for every instruction set. */
#include "winograd.h"

#define BODY "winograd_body.h"
#include "every_set.h"

const winograd_kernels *winograd_table(int set, int real_bytes)
{
    static const winograd_kernels *const tables[][2] = TABLES_OF_EVERY_SET(winograd);
    return tables[set][real_bytes == 8];
}
