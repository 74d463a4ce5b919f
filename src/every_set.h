/* Includes BODY, the body of some kernels, once for each instruction set that this build has and for both precisions.
 *
 * Each inclusion gives its functions names of their own (NAMED_IN_SET) and its own target: what is compiled for one set
 * is never called from another. To add a set, see docs/kernels.md.
 */
#include "instruction_sets.h"
#include "simd_headers.h"

/* What every processor of the architecture has: SSE2 on x86-64, NEON on aarch64. */
#define VECTOR_BYTES 16
#define NAMED_IN_SET(name, precision) name##_baseline_##precision
#include "precisions.h"
#undef VECTOR_BYTES
#undef NAMED_IN_SET

#ifdef CNN_EXT_HAS_X86_SETS

/* AVX2 with FMA. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define VECTOR_BYTES 32
#define NAMED_IN_SET(name, precision) name##_avx2_##precision
#include "precisions.h"
#undef VECTOR_BYTES
#undef NAMED_IN_SET
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* AVX-512, as in every processor that has it but the Xeon Phi. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq"))),                   \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")
#endif
#define VECTOR_BYTES 64
#define NAMED_IN_SET(name, precision) name##_avx512_##precision
#include "precisions.h"
#undef VECTOR_BYTES
#undef NAMED_IN_SET
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
