/* The weights of the positional convolution for inference: g v / |v| is packed, and v is not held beside it, which is
 * half of the memory that the convolution took. In float32 two bits a weight lead from what is packed back to v. */
#ifndef ECG_ENGINE_POSITIONS_H
#define ECG_ENGINE_POSITIONS_H

#include "../network/plan.h"

typedef struct {
    ecg_packed packed;
    float *factors; /* (taps): g / |v| */
    uint8_t *steps; /* of ecg_weight_norm_steps, in float32 */
    float *norms;   /* (taps): of what is packed in another type, which stands for v there, and they for g */
    float *v;       /* as it was set, where nothing is packed yet or that does not lead back; else NULL */
} ecg_positions;

/* Frees what a zeroed or filled struct holds, and zeroes it. */
void ecg_positions_free(ecg_positions *positions);

/* Holds v (C, C/groups, taps) until there is a g. */
ecg_status ecg_positions_hold(ecg_positions *positions, const ecg_config *config, const float *v);

/* Packs; v may not be the one that is held. */
ecg_status ecg_positions_pack(ecg_positions *positions, const ecg_config *config, const ecg_conv_spec *spec,
                              const float *v, const float *g);

/* v to the bit, or as it was rounded; where it was rounded, norms are its g. */
ecg_status ecg_positions_v(const ecg_positions *positions, const ecg_config *config, float *dst);

#endif
