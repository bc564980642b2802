/* A request to a model, in passes: of all threads together, or of each thread on its own. */
#ifndef ECG_ENGINE_PASSES_H
#define ECG_ENGINE_PASSES_H

#include "model.h"

/* Segments, and what a call wants to know of them. `outputs` point at the first row of all arrays. */
typedef struct {
    int64_t B, N;
    const float *src;     /* (B, L, N) */
    const int64_t *valid; /* (B) or NULL */
    float *logits;        /* (B, Y), of a classifier */
    ecg_outputs outputs;  /* a trace is that of a single pass: then all segments run at once */
} ecg_request;

ecg_status ecg_model_forward(ecg_model *model, const ecg_request *request);

/* One line per prepared operation ("name implementation") of a batch shape, cut at `size`. */
ecg_status ecg_model_describe(ecg_model *model, int64_t B, int64_t N, char *dst, size_t size);

#endif
