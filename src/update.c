/* The step's passes over the parameters, for both precisions: the code is in update_body.h, once. */
#include "update.h"

#include <math.h>

#define REAL float
#define ROOT sqrtf
#define NAMED(name) name##_f32
#include "update_body.h"
#undef REAL
#undef ROOT
#undef NAMED

#define REAL double
#define ROOT sqrt
#define NAMED(name) name##_f64
#include "update_body.h"
