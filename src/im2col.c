/* im2col and col2im for both precisions: the code is in im2col_body.h, once. */
#include "im2col.h"

#include <string.h>

#define REAL float
#define NAMED(name) name##_f32
#include "im2col_body.h"
#undef REAL
#undef NAMED

#define REAL double
#define NAMED(name) name##_f64
#include "im2col_body.h"
