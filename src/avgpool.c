/* Average pooling for both precisions: the code is in avgpool_body.h, once. */
#include "avgpool.h"

#include <string.h>

#define REAL float
#define NAMED(name) name##_f32
#include "avgpool_body.h"
#undef REAL
#undef NAMED

#define REAL double
#define NAMED(name) name##_f64
#include "avgpool_body.h"
