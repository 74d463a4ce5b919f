/* The convolution for x86 processors with AVX2 and FMA. */
#include "conv.h"

#ifdef CNN_EXT_HAS_AVX2
#include "avx2_begin.h"
#define BODY "conv_body.h"
#include "precisions.h"
#include "avx2_end.h"
#endif
