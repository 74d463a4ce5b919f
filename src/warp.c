/* Resampling and blur for both precisions: the code is in warp_body.h, once. */
#include "warp.h"

#include <stdint.h>
#include <string.h>

enum { STRETCH = 64 }; /* pixels whose places are found at once */

#define REAL float
#define NAMED(name) name##_f32
#include "warp_body.h"
#undef REAL
#undef NAMED

#define REAL double
#define NAMED(name) name##_f64
#include "warp_body.h"
