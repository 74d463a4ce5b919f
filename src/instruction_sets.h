/* Which instruction sets this build has, and which of them this processor can run. */
#ifndef CNN_EXT_INSTRUCTION_SETS_H
#define CNN_EXT_INSTRUCTION_SETS_H

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#define CNN_EXT_HAS_AVX2 1
#endif

static inline int processor_has_avx2(void)
{
#ifdef CNN_EXT_HAS_AVX2
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

#endif
