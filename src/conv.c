/* The convolution for every processor. */
#include "conv.h"

#include "baseline.h"
#define BODY "conv_body.h"
#include "precisions.h"
