/* Vectors: the one place that knows an instruction set.
 *
 * Included once for each precision and instruction set, by a file that has defined REAL, INTEGER (of the same size),
 * VECTOR_BYTES and NAMED(name), which makes the names of that inclusion its own: a function compiled for one set is
 * never called from another. The kernels know only these:
 *
 *     LANES            how many numbers fit a vector
 *     vec, mask        LANES numbers; LANES integers, all bits set for true and none for false
 *     load, store      from and to memory, of any alignment
 *     broadcast        one number in every lane
 *     fma_add(a, b, c) a * b + c; on every set but the plain one rounded once
 *
 * Comparisons and arithmetic are the compiler's own vector operators. To add a set, give its fma_add here and one file
 * like conv_avx2.c that includes the kernels.
 */

#include <stdint.h>
#if VECTOR_BYTES == 32
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))

typedef REAL NAMED(vec) __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL NAMED(vec_in_memory) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER NAMED(mask) __attribute__((vector_size(VECTOR_BYTES)));

static inline NAMED(vec) NAMED(load)(const REAL *p)
{
    return *(const NAMED(vec_in_memory) *)p;
}

static inline void NAMED(store)(REAL *p, NAMED(vec) v)
{
    *(NAMED(vec_in_memory) *)p = v;
}

static inline NAMED(vec) NAMED(broadcast)(REAL x)
{
    return x - (NAMED(vec)){0};
}

static inline NAMED(vec) NAMED(fma_add)(NAMED(vec) a, NAMED(vec) b, NAMED(vec) c)
{
#if VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (NAMED(vec))_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c)
                             : (NAMED(vec))_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return sizeof(REAL) == 4 ? (NAMED(vec))vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b)
                             : (NAMED(vec))vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}
