/* Includes BODY, the body of some kernels, once for each precision.
 *
 * every_set.h has defined VECTOR_BYTES and NAMED_IN_SET(name, precision): one instruction set. Here REAL, INTEGER and
 * NAMED are added, which is all that a body needs.
 */

#define REAL float
#define INTEGER int32_t
#define NAMED(name) NAMED_IN_SET(name, f32)
#include BODY
#undef REAL
#undef INTEGER
#undef NAMED
#undef ALWAYS_INLINE /* these four are simd.h's */
#undef LANES
#undef TILE_ROWS
#undef SUMS_AT_ONCE

#define REAL double
#define INTEGER int64_t
#define NAMED(name) NAMED_IN_SET(name, f64)
#include BODY
#undef REAL
#undef INTEGER
#undef NAMED
#undef ALWAYS_INLINE
#undef LANES
#undef TILE_ROWS
#undef SUMS_AT_ONCE
