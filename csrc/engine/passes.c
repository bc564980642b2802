#include "passes.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdio.h>

#include "../base/threads.h"
#include "../heads/classifier.h"

/* Takes an idle runner of this shape, or makes one, for the number of threads that it sets for the calling thread:
 * oneDNN plans for the number that OpenMP would use, and packs with it. */
static ecg_status take(ecg_model *model, ecg_lease *dst, int64_t B, int64_t N)
{
    int threads;
    ecg_status status = ECG_OK;
    *dst = (ecg_lease){0};
    ECG_TRY(ecg_threads_begin(&threads));
    if (ecg_pool_take(&model->pool, dst, B, N, threads))
        return ECG_OK;
    if (!model->ready)
        return ecg_fail(ECG_BAD_STATE, "the model is not loaded completely");
    model->was_run = true;
    ECG_TRY_GOTO(ecg_runner_create(&dst->runner, &model->config, &model->network, model->head, B, N, threads, NULL));
    return ECG_OK;
fail:
    ecg_lease_free(dst);
    return status;
}

/* Turns a runner to a pass and gives it memory; the shape says how much, so that it is allocated once. */
static ecg_status prepare(ecg_lease *lease, const ecg_head_task *task)
{
    size_t bytes;
    ECG_TRY(ecg_runner_plan(&lease->runner, task, &bytes));
    if (!lease->memory)
        ECG_TRY(ecg_alloc(&lease->memory, bytes));
    lease->bytes = bytes + ecg_plan_own(lease->runner.plan);
    ecg_runner_place(&lease->runner, lease->memory);
    return ECG_OK;
}

/* *at + rows of `size` elements, or NULL. */
static float *rows_of(float *array, int64_t row, int64_t size)
{
    return array ? array + row * size : NULL;
}

/* Segments `first` to first + B of a request; so many passes run side by side. */
static ecg_status run_pass(ecg_model *model, const ecg_request *request, int64_t first, int64_t B, int side_by_side)
{
    const ecg_config *c = &model->config;
    int64_t N = request->N, T = ecg_config_tokens(c, N);
    ecg_labelled batch = {.logits = request->logits};
    ecg_head_task task = {.config = c, .network = &model->network, .B = B, .T = T, .first = first, .batch = &batch};
    ecg_outputs outputs = request->outputs;
    ecg_encoded encoded;
    ecg_lease lease;
    outputs.embedding = rows_of(outputs.embedding, first, c->C);
    outputs.tokens = rows_of(outputs.tokens, first, T * c->C);
    outputs.attention = rows_of(outputs.attention, first, c->layers * T * T);
    ECG_TRY(take(model, &lease, B, N));
    ecg_status status = prepare(&lease, &task);
    if (status == ECG_OK)
        status = ecg_runner_forward(&lease.runner, &encoded, &model->network, request->src + first * c->leads * N,
                                    request->valid ? request->valid + first : NULL, NULL, &outputs);
    if (lease.memory)
        ecg_pool_give_back(&model->pool, &lease, side_by_side);
    else
        ecg_lease_free(&lease);
    return status;
}

/* Segments `first` to `end` on all threads together. */
static ecg_status run_together(ecg_model *model, const ecg_request *request, int64_t first, int64_t end)
{
    int64_t rows = ECG_INFERENCE_ROWS_A_THREAD * (int64_t)ecg_threads();
    int64_t pass = ecg_pass_segments(&model->config, request->N, rows > ECG_INFERENCE_ROWS ? rows : ECG_INFERENCE_ROWS);
    pass = request->outputs.trace ? request->B : pass;
    for (; first < end; first += pass)
        ECG_TRY(run_pass(model, request, first, end - first < pass ? end - first : pass, 1));
    return ECG_OK;
}

/* Segments that are shared out among threads, each of which computes whole passes alone. */
typedef struct {
    ecg_model *model;
    const ecg_request *request;
    int64_t count, pass; /* of all segments; at most so many are taken at once */
    int threads;
    _Atomic int64_t next;
    _Atomic bool stop;
    ecg_status status; /* of the first failure */
    char message[400];
} ecg_shares;

typedef struct {
    ecg_shares *shares;
    bool asks; /* on the caller's own thread, which alone may ask the caller */
} ecg_worker;

static ecg_status look(void *context)
{
    const ecg_worker *worker = context;
    if (atomic_load(&worker->shares->stop))
        return ecg_fail(ECG_INTERRUPTED, "another thread of this call failed");
    return worker->asks ? ecg_poll_call(&worker->shares->request->outputs.poll) : ECG_OK;
}

/* Takes the next segments; towards the end fewer, so that all threads end at about the same time. 0: none is left. */
static int64_t take_segments(ecg_shares *shares, int64_t *first)
{
    int64_t left, segments, seen = atomic_load(&shares->next);
    do {
        left = shares->count - seen;
        segments = (left + shares->threads - 1) / shares->threads;
        segments = segments < shares->pass ? segments : shares->pass;
        *first = seen;
    } while (left > 0 && !atomic_compare_exchange_weak(&shares->next, &seen, seen + segments));
    return left > 0 ? segments : 0;
}

static ecg_status work(ecg_shares *shares, bool asks)
{
    ecg_worker worker = {shares, asks};
    ecg_request request = *shares->request;
    int64_t first, segments;
    request.outputs.poll = (ecg_poll){look, &worker};
    while ((segments = take_segments(shares, &first)) > 0)
        ECG_TRY(run_pass(shares->model, &request, first, segments, shares->threads));
    return ECG_OK;
}

static void keep_failure(ecg_shares *shares, ecg_status status)
{
    if (!atomic_exchange(&shares->stop, true)) {
        shares->status = status;
        snprintf(shares->message, sizeof shares->message, "%s", ecg_message());
    }
}

static ecg_status run_apart(ecg_shares *shares)
{
    int threads;
    ECG_TRY(ecg_threads_begin(&threads));
    shares->threads = threads < shares->threads ? threads : shares->threads;
#pragma omp parallel num_threads(shares->threads)
    {
        ecg_threads_alone(true);
        ecg_status status = work(shares, omp_get_thread_num() == 0);
        if (status != ECG_OK)
            keep_failure(shares, status);
        ecg_threads_alone(false);
    }
    return shares->status == ECG_OK ? ECG_OK : ecg_fail(shares->status, "%s", shares->message);
}

/* A thread alone waits for no other after each layer, so as many segments as the threads share evenly are computed
 * apart, and the rest on all together: where the passes of all take no more memory than one of all together, and where
 * either way gives the same bits. The positional convolution sums in another order on threads that do not share its
 * groups evenly. */
ecg_status ecg_model_forward(ecg_model *model, const ecg_request *request)
{
    int threads = ecg_threads();
    int64_t least = ECG_INFERENCE_ROWS_A_THREAD, share = ECG_INFERENCE_ROWS / threads, B = request->B;
    bool fits = ecg_config_tokens(&model->config, request->N) <= (share > least ? share : least);
    ecg_shares shares = {.model = model, .request = request, .threads = threads};
    shares.pass = ecg_pass_segments(&model->config, request->N, least);
    fits = fits && model->config.conv_pos_groups % threads == 0 && threads > 1;
    shares.count = fits && !request->outputs.trace ? B - B % threads : 0;
    if (shares.count)
        ECG_TRY(run_apart(&shares));
    return run_together(model, request, shares.count, B);
}

ecg_status ecg_model_describe(ecg_model *model, int64_t B, int64_t N, char *dst, size_t size)
{
    ecg_head_task task = {.config = &model->config, .network = &model->network, .B = B};
    ecg_text text = {dst, size};
    ecg_lease lease;
    size_t bytes;
    task.T = ecg_config_tokens(&model->config, N);
    ECG_TRY(take(model, &lease, B, N));
    ecg_status status = ecg_runner_plan(&lease.runner, &task, &bytes);
    if (status == ECG_OK)
        ecg_plan_describe(lease.runner.plan, &text);
    if (status == ECG_OK && model->head)
        model->head->describe(lease.runner.head.state, &text);
    if (lease.memory)
        ecg_pool_give_back(&model->pool, &lease, 1);
    else
        ecg_lease_free(&lease);
    return status;
}
