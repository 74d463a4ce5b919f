/* Which instruction sets this build has, and which of them this processor can run. */
#ifndef CNN_EXT_INSTRUCTION_SETS_H
#define CNN_EXT_INSTRUCTION_SETS_H

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__)) /* clang-cl is no GNU */
#define CNN_EXT_HAS_X86_SETS 1
#include <cpuid.h>
#endif

enum { SET_BASELINE, SET_AVX2, SET_AVX512 };

/* The tables called `name` of every set: tables[set][is it float64]. */
/* clang-format off */
#ifdef CNN_EXT_HAS_X86_SETS
#define TABLES_OF_EVERY_SET(name) \
    {{&name##_baseline_f32, &name##_baseline_f64}, \
     {&name##_avx2_f32, &name##_avx2_f64}, \
     {&name##_avx512_f32, &name##_avx512_f64}}
#else
#define TABLES_OF_EVERY_SET(name) {{&name##_baseline_f32, &name##_baseline_f64}}
#endif
/* clang-format on */

#ifdef CNN_EXT_HAS_X86_SETS

/* Asked of the processor itself: __builtin_cpu_supports is in a library that clang-cl does not link. */
static inline int processor_has_x86_set(int set)
{
    /* bits of CPUID leaf 1 ECX, of leaf 7 EBX, and of the registers that the system saves (XCR0) */
    const unsigned fma = 1u << 12, saves = 1u << 27, avx = 1u << 28;
    const unsigned avx2 = 1u << 5, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    const unsigned saved = set == SET_AVX512 ? 0xe6 : 0x06;
    const unsigned wanted = set == SET_AVX512 ? avx2 | avx512 : avx2;
    unsigned eax, ebx, ecx, edx, xcr0, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & (fma | saves | avx)) != (fma | saves | avx))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    return (xcr0 & saved) == saved && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & wanted) == wanted;
}

#endif

static inline int processor_has(int set)
{
#ifdef CNN_EXT_HAS_X86_SETS
    if (set != SET_BASELINE)
        return processor_has_x86_set(set);
#endif
    return set == SET_BASELINE;
}

#endif
