/* The body of update.c, for one precision: REAL is the type, ROOT its square root, NAMED(f) f's name. */

int NAMED(all_finite)(const REAL *x, ptrdiff_t n)
{
    /* x - x is 0 for a finite x and NaN for all others; a NaN stays in a sum. Eight sums, so that they do not wait for
     * each other. */
    REAL sum[8] = {0};
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            sum[lane] += x[i + lane] - x[i + lane];
    for (; i < n; i++)
        sum[0] += x[i] - x[i];
    for (int lane = 1; lane < 8; lane++)
        sum[0] += sum[lane];
    return sum[0] == 0;
}

double NAMED(sum_of_squares)(const REAL *x, ptrdiff_t n)
{
    double total = 0;
    for (ptrdiff_t begin = 0; begin < n; begin += 1024) {
        const ptrdiff_t end = begin + 1024 < n ? begin + 1024 : n;
        REAL sum[16] = {0}; /* so that they do not wait for each other */
        ptrdiff_t i = begin;
        for (; i + 16 <= end; i += 16)
            for (int lane = 0; lane < 16; lane++)
                sum[lane] += x[i + lane] * x[i + lane];
        for (; i < end; i++)
            sum[0] += x[i] * x[i];
        for (int lane = 0; lane < 16; lane++)
            total += sum[lane];
    }
    return total;
}

void NAMED(add_scaled)(REAL *restrict target, const REAL *restrict source, REAL factor, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        target[i] += factor * source[i];
}

void NAMED(momentum_step)(REAL *restrict param, const REAL *restrict grad, REAL *restrict velocity, REAL lr,
                          REAL momentum, int nesterov, ptrdiff_t n)
{
    if (nesterov)
        for (ptrdiff_t i = 0; i < n; i++) {
            velocity[i] = velocity[i] * momentum + grad[i];
            param[i] -= lr * (grad[i] + momentum * velocity[i]);
        }
    else
        for (ptrdiff_t i = 0; i < n; i++) {
            velocity[i] = velocity[i] * momentum + grad[i];
            param[i] -= lr * velocity[i];
        }
}

void NAMED(lerp)(REAL *restrict target, const REAL *restrict source, REAL weight, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        target[i] += weight * (source[i] - target[i]);
}

void NAMED(adam_step)(REAL *restrict param, const REAL *restrict grad, REAL *restrict first, REAL *restrict second,
                      const adam_numbers *numbers, ptrdiff_t n)
{
    const REAL keep1 = (REAL)numbers->beta1, new1 = (REAL)(1 - numbers->beta1);
    const REAL keep2 = (REAL)numbers->beta2, new2 = (REAL)(1 - numbers->beta2);
    const REAL rate = (REAL)numbers->rate, root = (REAL)numbers->root;
    const REAL eps = (REAL)numbers->eps, decay = (REAL)numbers->decay;
    for (ptrdiff_t i = 0; i < n; i++) {
        first[i] = first[i] * keep1 + new1 * grad[i];
        second[i] = second[i] * keep2 + new2 * grad[i] * grad[i];
        param[i] -= decay * param[i] + rate * first[i] / (root * ROOT(second[i]) + eps);
    }
}
