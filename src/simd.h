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
 *     fma_add(a, b, c) a * b + c; on every set but SSE2 rounded once
 *     load_some, store_some, gather, scatter, load_bytes, store_bytes
 *                      the first n lanes, all if n is larger (0 in the others): from and to memory, from and to numbers
 *                      `stride` apart, bytes that are integers
 *     bits_of          which lanes are true, one bit each
 *     relu             max(x, 0); a NaN stays
 *     relu_back        the gradient where a ReLU let `out` through, else 0
 *     TILE_ROWS        rows of a tile of sums, two vectors wide, that the registers hold with what a step needs
 *     SUMS_AT_ONCE     vectors of sums that they hold where a step loads the other factor
 *
 *     ALWAYS_INLINE    for a function that is worth its place only with arguments that are known where it is called
 *
 * Comparisons and arithmetic are the compiler's own vector operators. precisions.h takes the macros back. To add a set,
 * see every_set.h.
 */

#if !defined(__GNUC__) && !defined(__clang__)
#error "the kernels need the vector types of GCC and Clang: on Windows, build with clang-cl"
#endif

#include <stddef.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))

#if defined(__aarch64__) /* 32 registers */
#define TILE_ROWS 8
#define SUMS_AT_ONCE 20
#elif VECTOR_BYTES == 64
#define TILE_ROWS 8
#define SUMS_AT_ONCE 25
#else /* 16 registers */
#define TILE_ROWS 6
#define SUMS_AT_ONCE 10
#endif

typedef REAL NAMED(vec) __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL NAMED(vec_in_memory) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER NAMED(mask) __attribute__((vector_size(VECTOR_BYTES)));

typedef uint8_t NAMED(bytes) __attribute__((vector_size(VECTOR_BYTES / sizeof(REAL))));

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
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4 ? (NAMED(vec))_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c)
                             : (NAMED(vec))_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (NAMED(vec))_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c)
                             : (NAMED(vec))_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return sizeof(REAL) == 4 ? (NAMED(vec))vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b)
                             : (NAMED(vec))vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

#if VECTOR_BYTES == 32
/* Which lanes are the first n. */
static inline __m256i NAMED(first_lanes)(ptrdiff_t n)
{
    NAMED(mask) lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    return (__m256i)(lane < (NAMED(mask)){0} + (INTEGER)n);
}
#endif

static inline NAMED(vec) NAMED(load_some)(const REAL *p, ptrdiff_t n)
{
    if (n >= LANES)
        return NAMED(load)(p);
#if VECTOR_BYTES == 64
    const __mmask16 some = (__mmask16)((1u << n) - 1);
    return sizeof(REAL) == 4 ? (NAMED(vec))_mm512_maskz_loadu_ps(some, p)
                             : (NAMED(vec))_mm512_maskz_loadu_pd((__mmask8)some, p);
#elif VECTOR_BYTES == 32
    const __m256i some = NAMED(first_lanes)(n);
    return sizeof(REAL) == 4 ? (NAMED(vec))_mm256_maskload_ps((const float *)p, some)
                             : (NAMED(vec))_mm256_maskload_pd((const double *)p, some);
#else
    NAMED(vec) v = {0};
    for (int lane = 0; lane < LANES - 1; lane++)
        if (lane < n)
            v[lane] = p[lane];
    return v;
#endif
}

static inline void NAMED(store_some)(REAL *p, ptrdiff_t n, NAMED(vec) v)
{
    if (n >= LANES) {
        NAMED(store)(p, v);
        return;
    }
#if VECTOR_BYTES == 64
    const __mmask16 some = (__mmask16)((1u << n) - 1);
    if (sizeof(REAL) == 4)
        _mm512_mask_storeu_ps(p, some, (__m512)v);
    else
        _mm512_mask_storeu_pd(p, (__mmask8)some, (__m512d)v);
#elif VECTOR_BYTES == 32
    if (sizeof(REAL) == 4)
        _mm256_maskstore_ps((float *)p, NAMED(first_lanes)(n), (__m256)v);
    else
        _mm256_maskstore_pd((double *)p, NAMED(first_lanes)(n), (__m256d)v);
#else
    for (int lane = 0; lane < LANES - 1; lane++)
        if (lane < n)
            p[lane] = v[lane];
#endif
}

static inline NAMED(vec) NAMED(gather)(const REAL *p, ptrdiff_t stride, ptrdiff_t n)
{
    if (stride == 1)
        return NAMED(load_some)(p, n);
    REAL numbers[VECTOR_BYTES / sizeof(REAL)] = {0};
    if (n >= LANES) /* a loop of known length needs no memory */
        for (ptrdiff_t lane = 0; lane < LANES; lane++)
            numbers[lane] = p[lane * stride];
    else
        for (ptrdiff_t lane = 0; lane < n; lane++)
            numbers[lane] = p[lane * stride];
    return NAMED(load)(numbers);
}

static inline void NAMED(scatter)(REAL *p, ptrdiff_t stride, ptrdiff_t n, NAMED(vec) v)
{
    if (stride == 1 && n >= LANES)
        NAMED(store)(p, v);
    else
        for (ptrdiff_t lane = 0; lane < n && lane < LANES; lane++)
            p[lane * stride] = v[lane];
}

static inline NAMED(mask) NAMED(load_bytes)(const uint8_t *p, ptrdiff_t n)
{
#if VECTOR_BYTES >= 32 /* the compiler puts the lanes in one by one */
    __m128i bytes = {0};
    __builtin_memcpy(&bytes, p, n >= LANES ? (size_t)LANES : (size_t)n);
#if VECTOR_BYTES == 64
    return (NAMED(mask))(sizeof(REAL) == 4 ? _mm512_cvtepu8_epi32(bytes) : _mm512_cvtepu8_epi64(bytes));
#else
    return (NAMED(mask))(sizeof(REAL) == 4 ? _mm256_cvtepu8_epi32(bytes) : _mm256_cvtepu8_epi64(bytes));
#endif
#else
    NAMED(bytes) bytes = {0};
    __builtin_memcpy(&bytes, p, n >= LANES ? (size_t)LANES : (size_t)n);
    return __builtin_convertvector(bytes, NAMED(mask));
#endif
}

static inline void NAMED(store_bytes)(uint8_t *p, ptrdiff_t n, NAMED(mask) integers)
{
#if VECTOR_BYTES == 64 /* the compiler takes the lanes out one by one */
    const __m128i bytes =
        sizeof(REAL) == 4 ? _mm512_cvtepi32_epi8((__m512i)integers) : _mm512_cvtepi64_epi8((__m512i)integers);
#else
    const NAMED(bytes) bytes = __builtin_convertvector(integers, NAMED(bytes));
#endif
    if (n >= LANES)
        __builtin_memcpy(p, &bytes, (size_t)LANES);
    else
        __builtin_memcpy(p, &bytes, (size_t)n);
}

static inline unsigned NAMED(bits_of)(NAMED(mask) lanes)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4 ? _mm512_movepi32_mask((__m512i)lanes) : _mm512_movepi64_mask((__m512i)lanes);
#elif VECTOR_BYTES == 32
    return (unsigned)(sizeof(REAL) == 4 ? _mm256_movemask_ps((__m256)lanes) : _mm256_movemask_pd((__m256d)lanes));
#else
    unsigned bits = 0;
    for (int lane = 0; lane < LANES; lane++)
        bits |= (unsigned)(lanes[lane] & 1) << lane;
    return bits;
#endif
}

static inline NAMED(vec) NAMED(relu)(NAMED(vec) v)
{
    return (NAMED(vec))((NAMED(mask))v & ~(v <= 0));
}

static inline NAMED(vec) NAMED(relu_back)(NAMED(vec) gradient, NAMED(vec) out)
{
    return (NAMED(vec))((NAMED(mask))gradient & ~(out <= 0));
}
