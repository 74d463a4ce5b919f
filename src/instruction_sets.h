/* Which instruction sets this build has, and which of them this processor can run. */
#ifndef CNN_EXT_INSTRUCTION_SETS_H
#define CNN_EXT_INSTRUCTION_SETS_H

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#define CNN_EXT_HAS_X86_SETS 1
#endif

enum { SET_BASELINE, SET_AVX2, SET_AVX512 };

/* The tables called `name` of every set: tables[set][is it float64]. */
#ifdef CNN_EXT_HAS_X86_SETS
#define TABLES_OF_EVERY_SET(name) \
    {{&name##_baseline_f32, &name##_baseline_f64}, \
     {&name##_avx2_f32, &name##_avx2_f64}, \
     {&name##_avx512_f32, &name##_avx512_f64}}
#else
#define TABLES_OF_EVERY_SET(name) {{&name##_baseline_f32, &name##_baseline_f64}}
#endif

static inline int processor_has(int set)
{
#ifdef CNN_EXT_HAS_X86_SETS
    if (set == SET_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (set == SET_AVX512)
        return processor_has(SET_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#endif
    return set == SET_BASELINE;
}

#endif
