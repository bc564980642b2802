/* A small network in training, and batches for it, for the programs of tests. */
#ifndef ECG_TESTS_TRAINER_H
#define ECG_TESTS_TRAINER_H

#include "../../csrc/base/threads.h"
#include "../../csrc/engine/trainer.h"
#include "../../csrc/heads/classifier.h"
#include "check.h"

typedef struct {
    int64_t B, N, *valid;
    float *src, *labels, *pos_weight;
} batch;

static batch make_batch(const ecg_config *config, int64_t B, int64_t N, bool padded)
{
    batch b = {B,
               N,
               get((size_t)B * sizeof(int64_t)),
               numbers(B * config->leads * N, 1, 0),
               numbers(B * config->labels, 0.5f, 0.5f),
               numbers(config->labels, 1, 2)};
    for (int64_t i = 0; i < B; i++)
        b.valid[i] = padded && i % 2 ? N / 2 + i : N;
    return b;
}

static void free_batch(batch *b)
{
    free(b->valid), free(b->src), free(b->labels), free(b->pos_weight);
}

static void fill_trainer(ecg_trainer *t)
{
    state = 4711;
    for (int64_t i = 0; i < t->table.count; i++) {
        const ecg_parameter *p = &t->table.parameters[i];
        float *dst = ecg_trainer_tensor(t, ECG_PARAMETERS, i);
        for (int64_t k = 0; k < p->count; k++)
            dst[k] = (p->init == ECG_INIT_ONES ? 1.f : 0.f) + 0.3f * uniform();
    }
}

static ecg_status make_trainer(ecg_trainer *t, const ecg_config *config, const ecg_training *training, double factor)
{
    ECG_TRY(ecg_trainer_create(t, config, &ecg_head_classifier, training, factor, NULL));
    fill_trainer(t);
    return ECG_OK;
}

static ecg_step step_of(const batch *b, const ecg_labelled *labelled, ecg_label_sums *sums)
{
    return (ecg_step){.B = b->B,
                      .N = b->N,
                      .src = b->src,
                      .valid = b->valid,
                      .batch = labelled,
                      .sums = sums,
                      .noise = {.key = {.seed = 1}},
                      .threads = ecg_threads(),
                      .backward = true};
}

static ecg_status accumulate(ecg_trainer *t, ecg_label_sums *sums, const batch *b, int64_t first_row)
{
    ecg_labelled labelled = {.labels = b->labels, .loss = {.loss = &ecg_bce, .positive = b->pos_weight}};
    ecg_step step = step_of(b, &labelled, sums);
    step.noise.first_row = first_row;
    return ecg_trainer_run(t, &step);
}

#endif
