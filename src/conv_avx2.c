/* The convolution for x86 processors with AVX2 and FMA, for both precisions. */
#include "conv.h"

#ifdef CNN_EXT_HAS_AVX2

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define __FMA__ 1
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define VECTOR_BYTES 32
#define SET_NAME "avx2"
#define NAMED_IN_SET(name, precision) name##_avx2_##precision
#include "conv_set.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
