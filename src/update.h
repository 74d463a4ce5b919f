/* What a step does to each parameter, one pass over memory each. Every number is computed by itself. */
#ifndef CNN_EXT_UPDATE_H
#define CNN_EXT_UPDATE_H

#include <stddef.h>

#define DECLARE_UPDATE(REAL, SUFFIX)                                                                               \
    /* 1 if none of x[0..n) is NaN or infinite. */                                                                 \
    int all_finite_##SUFFIX(const REAL *x, ptrdiff_t n);                                                           \
    /* The sum of x[i] * x[i], formed in short stretches and in float64 beyond them. */                              \
    double sum_of_squares_##SUFFIX(const REAL *x, ptrdiff_t n);                                                    \
    /* target[i] += factor * source[i] */                                                                          \
    void add_scaled_##SUFFIX(REAL *target, const REAL *source, REAL factor, ptrdiff_t n);                          \
    /* v = momentum * v + grad; param -= lr * (nesterov ? grad + momentum * v : v) */                              \
    void momentum_step_##SUFFIX(REAL *param, const REAL *grad, REAL *velocity, REAL lr, REAL momentum, int nesterov, \
                                ptrdiff_t n);

DECLARE_UPDATE(float, f32)
DECLARE_UPDATE(double, f64)

#endif
