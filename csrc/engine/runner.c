#include "runner.h"

int64_t ecg_pass_segments(const ecg_config *config, int64_t N, int64_t rows)
{
    int64_t T = ecg_config_tokens(config, N);
    return T < 1 || T >= rows ? 1 : rows / T;
}

ecg_status ecg_runner_create(ecg_runner *runner, const ecg_config *config, const ecg_network *network,
                             const ecg_head_type *head, int64_t B, int64_t N, int threads, const ecg_training *training)
{
    *runner = (ecg_runner){.B = B, .N = N, .threads = threads, .trains = training != NULL};
    bool encoder = training && training->first < ecg_stages(config); /* something of it is trained */
    ECG_TRY(ecg_plan_create(&runner->plan, config, network, B, N, threads, encoder ? training : NULL));
    return ecg_head_create(&runner->head, head);
}

void ecg_runner_free(ecg_runner *runner)
{
    ecg_plan_free(runner->plan);
    ecg_head_free(&runner->head);
    *runner = (ecg_runner){0};
}

bool ecg_runner_fits(const ecg_runner *r, int64_t B, int64_t N, int threads, bool trains)
{
    return r->plan && r->B == B && r->N == N && r->threads == threads && r->trains == trains;
}

ecg_status ecg_runner_plan(ecg_runner *runner, const ecg_head_task *task, size_t *bytes)
{
    ECG_TRY(ecg_head_plan(&runner->head, task));
    *bytes = ecg_plan_memory(runner->plan) + runner->head.arena.peak; /* both are multiples of the alignment */
    return ECG_OK;
}

void ecg_runner_place(ecg_runner *runner, void *memory)
{
    ecg_plan_place(runner->plan, memory);
    ecg_head_place(&runner->head, (char *)memory + ecg_plan_memory(runner->plan));
}

ecg_status ecg_runner_forward(ecg_runner *runner, ecg_encoded *encoded, const ecg_network *network, const float *src,
                              const int64_t *valid, const ecg_noise *noise, const ecg_outputs *outputs)
{
    ecg_outputs all = *outputs;
    all.seams = ecg_head_seams(&runner->head);
    ECG_TRY(ecg_encode(encoded, network, runner->plan, src, valid, noise, &all));
    return ecg_head_forward(&runner->head, encoded);
}
