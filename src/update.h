/* What a step does to each parameter, one pass over memory each. Every number is computed by itself. */
#ifndef CNN_EXT_UPDATE_H
#define CNN_EXT_UPDATE_H

#include <stddef.h>

/* One step of Adam: the rate and the root carry the corrections of the moments' start. */
typedef struct {
    double beta1, beta2, rate, root, eps, decay;
} adam_numbers;

#define DECLARE_UPDATE(REAL, SUFFIX)                                                                                   \
    /* 1 if none of x[0..n) is NaN or infinite. */                                                                     \
    int all_finite_##SUFFIX(const REAL *x, ptrdiff_t n);                                                               \
    /* The sum of x[i] * x[i], formed in short stretches and in float64 beyond them. */                                \
    double sum_of_squares_##SUFFIX(const REAL *x, ptrdiff_t n);                                                        \
    /* target[i] += factor * source[i] */                                                                              \
    void add_scaled_##SUFFIX(REAL *target, const REAL *source, REAL factor, ptrdiff_t n);                              \
    /* v = momentum * v + grad; param -= lr * (nesterov ? grad + momentum * v : v) */                                  \
    void momentum_step_##SUFFIX(REAL *param, const REAL *grad, REAL *velocity, REAL lr, REAL momentum, int nesterov,   \
                                ptrdiff_t n);                                                                          \
    /* target[i] += weight * (source[i] - target[i]) */                                                                \
    void lerp_##SUFFIX(REAL *target, const REAL *source, REAL weight, ptrdiff_t n);                                    \
    /* m = beta1 * m + (1 - beta1) * grad; v = beta2 * v + (1 - beta2) * grad * grad;                                  \
     * param -= decay * param + rate * m / (root * sqrt(v) + eps) */                                                   \
    void adam_step_##SUFFIX(REAL *param, const REAL *grad, REAL *first, REAL *second, const adam_numbers *numbers,     \
                            ptrdiff_t n);

DECLARE_UPDATE(float, f32)
DECLARE_UPDATE(double, f64)

#endif
