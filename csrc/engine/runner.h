/* The encoder and a head, prepared for batches of one shape; and how large a batch is run at once. */
#ifndef ECG_ENGINE_RUNNER_H
#define ECG_ENGINE_RUNNER_H

#include "../heads/head.h"

/* Rows (tokens of all segments together) of one pass. In inference 640, or 160 a thread, if that is more: twice as many
 * take 12 MB more of base, no less time in float32 and bfloat16 (within 1 %), and more of it in int8, whose activations
 * then leave the cache. A thread that runs passes of its own (engine/passes) takes 160. In training few enough for what
 * is kept of a pass to stay small beside the four blocks. */
#define ECG_INFERENCE_ROWS 640
#define ECG_INFERENCE_ROWS_A_THREAD 160
#define ECG_TRAINING_ROWS 1000

/* How many segments of N samples one pass of so many rows takes. */
int64_t ecg_pass_segments(const ecg_config *config, int64_t N, int64_t rows);

typedef struct {
    ecg_plan *plan;
    ecg_head head;
    int64_t B, N;
    int threads;
    bool trains;
} ecg_runner;

/* training is NULL where no backward runs; head NULL for the encoder alone. Free it in any case. */
ecg_status ecg_runner_create(ecg_runner *runner, const ecg_config *config, const ecg_network *network,
                             const ecg_head_type *head, int64_t B, int64_t N, int threads,
                             const ecg_training *training);
void ecg_runner_free(ecg_runner *runner);

/* Whether it is for this shape. */
bool ecg_runner_fits(const ecg_runner *runner, int64_t B, int64_t N, int threads, bool trains);

/* Turns to a batch; *bytes becomes the memory to give it before the forward. */
ecg_status ecg_runner_plan(ecg_runner *runner, const ecg_head_task *task, size_t *bytes);
void ecg_runner_place(ecg_runner *runner, void *memory);

/* The encoder and the head. */
ecg_status ecg_runner_forward(ecg_runner *runner, ecg_encoded *encoded, const ecg_network *network, const float *src,
                              const int64_t *valid, const ecg_noise *noise, const ecg_outputs *outputs);

#endif
