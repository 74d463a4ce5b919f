/* The matrix product for every processor. */
#include "matmul.h"

#include "baseline.h"
#define BODY "matmul_body.h"
#include "precisions.h"
