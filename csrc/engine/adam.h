/* Adam as fairseq-signals applies it. */
#ifndef ECG_ENGINE_ADAM_H
#define ECG_ENGINE_ADAM_H

#include <stdint.h>

typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
} ecg_adam;

/* One step of n neighbouring parameters, their step-th (1, 2, ...), with gradients times `factor`:
 * p -= lr weight_decay p; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
 * p -= lr sqrt(1 - beta2^step) / (1 - beta1^step) m / (sqrt(v) + eps): eps meets the uncorrected root, unlike in
 * the paper and in torch. */
void ecg_adam_step(float *parameters,      /* (n) */
                   float *exp_avg,         /* (n): m */
                   float *exp_avg_sq,      /* (n): v */
                   const float *gradients, /* (n) */
                   int64_t n, int64_t step, double factor, const ecg_adam *adam);

#endif
