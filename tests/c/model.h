/* A small model and one batch through it, for the programs of tests. */
#ifndef ECG_TESTS_MODEL_H
#define ECG_TESTS_MODEL_H

#include "../../csrc/engine/passes.h"
#include "check.h"

static ecg_status fill(ecg_model *model)
{
    ecg_status status = ECG_OK;
    for (int64_t i = 0; i < 2 * model->table.count && status == ECG_OK; i++) { /* vectors first, then matrices */
        int64_t index = i % model->table.count;
        const ecg_parameter *p = &model->table.parameters[index];
        if ((p->ndim == 1) != (i < model->table.count))
            continue;
        float *values = numbers(p->count, 0.3f, p->init == ECG_INIT_ONES ? 1.f : 0.f);
        status = ecg_model_set(model, index, values);
        free(values);
    }
    return status == ECG_OK ? ecg_model_finish(model) : status;
}

/* A model from nothing, one batch through it; everything is given back whatever happens. */
static ecg_status whole_path(const ecg_config *config, ecg_precision_name precision, int64_t B, int64_t N,
                             const int64_t *valid, float *logits, float *tokens, float *attention)
{
    ecg_model model;
    state = 12345;
    ECG_TRY(ecg_model_create(&model, config, precision));
    ecg_status status = fill(&model);
    float *src = numbers(B * config->leads * N, 1, 0);
    ecg_request request = {.B = B,
                           .N = N,
                           .src = src,
                           .valid = valid,
                           .logits = logits,
                           .outputs = {.tokens = tokens, .attention = attention, .layer = -1}};
    if (status == ECG_OK)
        status = ecg_model_forward(&model, &request);
    ecg_model_free(&model);
    free(src);
    return status;
}

#endif
