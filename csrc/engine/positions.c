#include "positions.h"

#include <math.h>
#include <string.h>

void ecg_positions_free(ecg_positions *positions)
{
    ecg_packed_free(&positions->packed);
    ecg_free(positions->factors);
    ecg_free(positions->steps);
    ecg_free(positions->norms);
    ecg_free(positions->v);
    *positions = (ecg_positions){0};
}

static size_t bytes_of(const ecg_config *c)
{
    return (size_t)(c->C * (c->C / c->conv_pos_groups) * c->conv_pos) * sizeof(float);
}

ecg_status ecg_positions_hold(ecg_positions *positions, const ecg_config *config, const float *v)
{
    if (!positions->v)
        ECG_TRY(ecg_alloc((void **)&positions->v, bytes_of(config)));
    memcpy(positions->v, v, bytes_of(config));
    return ECG_OK;
}

/* The way back to v from weights in float32: *found is false where there is none. */
static ecg_status keep_steps(ecg_positions *dst, const ecg_config *c, const float *weights, const float *v, bool *found)
{
    int64_t S = c->C / c->conv_pos_groups;
    ECG_TRY(ecg_alloc((void **)&dst->steps, (size_t)ECG_STEPS_BYTES(c->C, S, c->conv_pos)));
    *found = ecg_weight_norm_steps(dst->steps, weights, dst->factors, v, c->C, S, c->conv_pos);
    return ECG_OK;
}

/* The norms of rounded weights, each of which must be one by which the weights can be divided again; `weights` is
 * overwritten. */
static ecg_status keep_norms(ecg_positions *dst, const ecg_config *c, float *weights, bool *found)
{
    ECG_TRY(ecg_alloc((void **)&dst->norms, (size_t)c->conv_pos * sizeof *dst->norms));
    ECG_TRY(ecg_unpack(weights, &dst->packed));
    ecg_tap_norms(dst->norms, weights, c->C, c->C / c->conv_pos_groups, c->conv_pos);
    *found = true;
    for (int64_t k = 0; k < c->conv_pos; k++)
        *found = *found && dst->norms[k] >= 1e-30f && isfinite(dst->norms[k]);
    return ECG_OK;
}

ecg_status ecg_positions_pack(ecg_positions *positions, const ecg_config *c, const ecg_conv_spec *spec, const float *v,
                              const float *g)
{
    ecg_status status = ECG_OK;
    ecg_positions made = {0};
    float *weights = NULL;
    bool found;
    ECG_TRY_GOTO(ecg_alloc((void **)&weights, bytes_of(c)));
    ECG_TRY_GOTO(ecg_alloc((void **)&made.factors, (size_t)c->conv_pos * sizeof *made.factors));
    ecg_weight_norm_forward(weights, made.factors, v, g, c->C, c->C / c->conv_pos_groups, c->conv_pos);
    ECG_TRY_GOTO(ecg_pack_conv(&made.packed, weights, spec));
    if (spec->weights == ECG_F32)
        ECG_TRY_GOTO(keep_steps(&made, c, weights, v, &found));
    else
        ECG_TRY_GOTO(keep_norms(&made, c, weights, &found));
    if (!found) {
        ecg_free(made.steps);
        ecg_free(made.norms);
        made.steps = NULL, made.norms = NULL;
        ECG_TRY_GOTO(ecg_positions_hold(&made, c, v));
    }
    ecg_positions_free(positions);
    *positions = made;
    made = (ecg_positions){0};
fail:
    ecg_positions_free(&made);
    ecg_free(weights);
    return status;
}

ecg_status ecg_positions_v(const ecg_positions *positions, const ecg_config *c, float *dst)
{
    if (positions->v) {
        memcpy(dst, positions->v, bytes_of(c));
        return ECG_OK;
    }
    ECG_TRY(ecg_unpack(dst, &positions->packed));
    if (positions->steps)
        ecg_weight_norm_undo(dst, dst, positions->factors, positions->steps, c->C, c->C / c->conv_pos_groups,
                             c->conv_pos);
    return ECG_OK;
}
