/* One instruction set: the kernels of conv_body.h in both precisions, and the tables that name them. */

#define REAL float
#define INTEGER int32_t
#define NAMED(name) NAMED_IN_SET(name, f32)
#include "conv_body.h"
#undef REAL
#undef INTEGER
#undef NAMED

#define REAL double
#define INTEGER int64_t
#define NAMED(name) NAMED_IN_SET(name, f64)
#include "conv_body.h"
#undef REAL
#undef INTEGER
#undef NAMED
