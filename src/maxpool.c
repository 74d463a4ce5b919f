/* Max-pooling for both precisions: the code is in maxpool_body.h, once. */
#include "maxpool.h"

#include <string.h>

#define REAL float
#define NAMED(name) name##_f32
#include "maxpool_body.h"
#undef REAL
#undef NAMED

#define REAL double
#define NAMED(name) name##_f64
#include "maxpool_body.h"
