#include "adam.h"

#include <math.h>

#include "../base/kernel.h"

ECG_KERNEL void ecg_adam_step(float *parameters, float *exp_avg, float *exp_avg_sq, const float *gradients, int64_t n,
                              int64_t step, double factor, const ecg_adam *adam)
{
    double size = adam->lr * sqrt(1 - pow(adam->beta2, (double)step)) / (1 - pow(adam->beta1, (double)step));
    float keep = (float)(1 - adam->lr * adam->weight_decay), lr = (float)size, eps = (float)adam->eps;
    float beta1 = (float)adam->beta1, beta2 = (float)adam->beta2, scale = (float)factor;
    float rest1 = (float)(1 - adam->beta1), rest2 = (float)(1 - adam->beta2);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float g = gradients[i] * scale;
        float m = beta1 * exp_avg[i] + rest1 * g, v = beta2 * exp_avg_sq[i] + rest2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        parameters[i] = keep * parameters[i] - lr * m / (sqrtf(v) + eps);
    }
}
