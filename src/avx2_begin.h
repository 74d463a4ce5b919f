/* From here to avx2_end.h, functions are compiled for x86 processors with AVX2 and FMA. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define VECTOR_BYTES 32
#define NAMED_IN_SET(name, precision) name##_avx2_##precision
