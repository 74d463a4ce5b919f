/* The step's passes over the parameters, for both precisions: the code is in update_body.h, once. */
#include "update.h"

#define REAL float
#define NAMED(name) name##_f32
#include "update_body.h"
#undef REAL
#undef NAMED

#define REAL double
#define NAMED(name) name##_f64
#include "update_body.h"
