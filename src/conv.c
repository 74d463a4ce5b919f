/* The convolution in plain C, for both precisions; on aarch64 this is NEON, which every such processor has. */
#include "conv.h"

#define VECTOR_BYTES 16
#define SET_NAME "baseline"
#define NAMED_IN_SET(name, precision) name##_plain_##precision
#include "conv_set.h"
