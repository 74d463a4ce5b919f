/* The compiler's own names for its instructions, before any target is chosen. */
#include <stdint.h>
#ifdef CNN_EXT_HAS_X86_SETS /* of instruction_sets.h */
#include <immintrin.h>
#if defined(__clang__) && defined(_MSC_VER) /* clang-cl's leaves out what the command line does not ask for */
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <fmaintrin.h>
#include <avx512fintrin.h>
#include <avx512dqintrin.h>
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
