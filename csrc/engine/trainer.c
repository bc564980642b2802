#include "trainer.h"

#include <math.h>
#include <string.h>

#include "../layers/layers.h"

#define PIECE ((int64_t)1 << 16)

static ecg_status cut_into_pieces(ecg_trainer *t)
{
    for (int pass = 0; pass < 2; pass++) {
        t->piece_count = 0;
        for (int64_t i = 0; i < t->table.count; i++) {
            int64_t count = t->chosen.gradients[i] ? t->table.parameters[i].count : 0;
            for (int64_t begin = 0; begin < count; begin += PIECE) {
                if (t->pieces)
                    t->pieces[t->piece_count] = (ecg_piece){i, begin, count - begin < PIECE ? count - begin : PIECE, 0};
                t->piece_count++;
            }
        }
        if (pass == 0)
            ECG_TRY(ecg_alloc_zeros((void **)&t->pieces, t->piece_count, sizeof *t->pieces));
    }
    return ECG_OK;
}

ecg_status ecg_trainer_create(ecg_trainer *t, const ecg_config *config, const ecg_head_type *head,
                              const ecg_training *training, double feature_grad_mult, const ecg_choice *choice)
{
    ecg_status status = ECG_OK;
    const ecg_choice everything = {0}, *chosen = choice ? choice : &everything;
    memset(t, 0, sizeof *t);
    ECG_TRY(ecg_table_create_adapted(&t->table, config, ecg_rows_of(head), chosen->rank, chosen->adapted));
    t->config = *config;
    t->head = head;
    t->training = *training;
    t->feature_grad_mult = feature_grad_mult;
    t->training.frozen |= feature_grad_mult != 0 ? 0 : ECG_P_EXTRACTOR;
    int64_t count = t->table.count;
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&t->steps, count, sizeof *t->steps));
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&t->rates, count, sizeof *t->rates));
    for (int64_t i = 0; i < count; i++)
        t->rates[i] = 1;
    ECG_TRY_GOTO(ecg_choose(&t->chosen, &t->training, &t->table, config, head, chosen));
    for (int block = 0; block < ECG_BLOCKS; block++)
        t->sizes[block] = t->chosen.moments;
    t->sizes[ECG_PARAMETERS] = t->chosen.all, t->sizes[ECG_GRADIENTS] = t->chosen.elements;
    ECG_TRY_GOTO(ecg_adapters_create(&t->adapters, &t->adapter_count, &t->table));
    for (int block = 0; block < ECG_BLOCKS; block++)
        ECG_TRY_GOTO(ecg_alloc_zeros((void **)&t->blocks[block], t->sizes[block], sizeof(float)));
    ECG_TRY_GOTO(ecg_network_create(&t->parameters, config, ecg_rows_of(head)));
    ECG_TRY_GOTO(ecg_network_create(&t->gradients, config, ecg_rows_of(head)));
    t->parameters.precision = ecg_precision_of_training(training->precision);
    for (int64_t i = 0; i < count; i++) {
        const ecg_parameter *p = &t->table.parameters[i];
        ecg_network_connect(&t->parameters, p, ecg_trainer_tensor(t, ECG_PARAMETERS, i));
        if (t->chosen.gradients[i])
            ecg_network_connect(&t->gradients, p, t->blocks[ECG_GRADIENTS] + t->chosen.offsets[i]);
    }
    ECG_TRY_GOTO(cut_into_pieces(t));
    return ECG_OK;
fail:
    ecg_trainer_free(t);
    return status;
}

void ecg_trainer_free(ecg_trainer *t)
{
    for (int i = 0; i < ECG_TRAINER_RUNNERS; i++)
        ecg_runner_free(&t->runners[i]);
    for (int block = 0; block < ECG_BLOCKS; block++)
        ecg_free(t->blocks[block]);
    ecg_network_free(&t->parameters);
    ecg_network_free(&t->gradients);
    ecg_chosen_free(&t->chosen);
    ecg_free(t->steps);
    ecg_free(t->rates);
    ecg_adapters_free(t->adapters, t->adapter_count);
    ecg_free(t->pieces);
    ecg_free(t->memory);
    ecg_table_free(&t->table);
    memset(t, 0, sizeof *t);
}

float *ecg_trainer_tensor(const ecg_trainer *t, ecg_block block, int64_t index)
{
    return block == ECG_PARAMETERS || t->chosen.trained[index] ? t->blocks[block] + t->chosen.offsets[index] : NULL;
}

/* ---- adapters ---- */

void ecg_trainer_take_bases(ecg_trainer *t)
{
    for (int64_t i = 0; i < t->adapter_count; i++) {
        const ecg_adapter *adapter = &t->adapters[i];
        memcpy(adapter->base, ecg_trainer_tensor(t, ECG_PARAMETERS, adapter->weight),
               (size_t)(adapter->C * adapter->C) * sizeof *adapter->base);
    }
}

void ecg_trainer_merge(ecg_trainer *t)
{
    for (int64_t i = 0; i < t->adapter_count; i++) {
        const ecg_adapter *adapter = &t->adapters[i];
        ecg_adapter_merge(ecg_trainer_tensor(t, ECG_PARAMETERS, adapter->weight),
                          ecg_trainer_tensor(t, ECG_PARAMETERS, adapter->a),
                          ecg_trainer_tensor(t, ECG_PARAMETERS, adapter->b), adapter);
    }
}

/* The gradients of the adapters, from those of their weights, of all batches so far. */
static void adapters_backward(ecg_trainer *t)
{
    for (int64_t i = 0; i < t->adapter_count; i++) {
        const ecg_adapter *adapter = &t->adapters[i];
        if (t->chosen.trained[adapter->a] && t->chosen.trained[adapter->b])
            ecg_adapter_backward(ecg_trainer_tensor(t, ECG_GRADIENTS, adapter->a),
                                 ecg_trainer_tensor(t, ECG_GRADIENTS, adapter->b),
                                 t->blocks[ECG_GRADIENTS] + t->chosen.offsets[adapter->weight],
                                 ecg_trainer_tensor(t, ECG_PARAMETERS, adapter->a),
                                 ecg_trainer_tensor(t, ECG_PARAMETERS, adapter->b), adapter);
    }
}

/* ---- runners and their memory ---- */

/* A runner of this shape: one that is there, or a new one in place of the one that was not used for longest. */
static ecg_status runner_for(ecg_trainer *t, ecg_runner **dst, int64_t B, int64_t N, int threads, bool trains)
{
    int chosen = 0;
    for (int i = 0; i < ECG_TRAINER_RUNNERS; i++) {
        if (ecg_runner_fits(&t->runners[i], B, N, threads, trains)) {
            chosen = i;
            break;
        }
        if (t->used[i] < t->used[chosen])
            chosen = i;
    }
    ecg_runner *runner = *dst = &t->runners[chosen];
    if (!ecg_runner_fits(runner, B, N, threads, trains)) {
        ecg_runner_free(runner);
        t->used[chosen] = 0;
        ecg_status status =
            ecg_runner_create(runner, &t->config, &t->parameters, t->head, B, N, threads, trains ? &t->training : NULL);
        if (status != ECG_OK) {
            ecg_runner_free(runner);
            return status;
        }
    }
    t->used[chosen] = ++t->uses;
    return ECG_OK;
}

/* Turns a runner to the task and places it on the trainer's memory, which grows when it must. */
static ecg_status prepare(ecg_trainer *t, ecg_runner *runner, const ecg_head_task *task)
{
    size_t bytes;
    ECG_TRY(ecg_runner_plan(runner, task, &bytes));
    if (bytes > t->memory_bytes) {
        ecg_free(t->memory);
        t->memory = NULL;
        t->memory_bytes = 0;
        ECG_TRY(ecg_alloc(&t->memory, bytes));
        t->memory_bytes = bytes;
    }
    ecg_runner_place(runner, t->memory);
    return ECG_OK;
}

/* ---- a step ---- */

/* The matrices of the encoder layers: nearly all that is trained. */
static bool is_layer_matrix(const ecg_parameter *p)
{
    return p->flags & ECG_P_LAYER && p->flags & ECG_P_MATRIX;
}

/* Sets the gradients to 0, those of the layers' matrices only if `all`. */
static void begin(ecg_trainer *t, bool all)
{
    t->accumulating = true;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->piece_count; i++) {
        const ecg_piece *p = &t->pieces[i];
        if (all || !is_layer_matrix(&t->table.parameters[p->tensor]))
            memset(t->blocks[ECG_GRADIENTS] + t->chosen.offsets[p->tensor] + p->begin, 0,
                   (size_t)p->count * sizeof(float));
    }
}

void ecg_trainer_begin(ecg_trainer *t)
{
    if (!t->accumulating)
        begin(t, true);
}

/* Where rows of a batch from `first` on enter. */
static ecg_entry entry_at(const ecg_trainer *t, const ecg_step *step, int64_t first)
{
    size_t width = (size_t)(ecg_config_tokens(&t->config, step->N) * t->config.C) * ecg_dtypes[step->rows_type].size;
    return (ecg_entry){.stage = t->training.first,
                       .type = step->rows_type,
                       .from = (const char *)step->rows + (size_t)first * width};
}

/* Rows `first` to first + B of a batch. */
static ecg_status pass_forward(ecg_trainer *t, const ecg_step *step, int64_t first, int64_t B)
{
    ecg_pass *p = &t->pass;
    ecg_outputs outputs = {.layer = -1, .poll = step->poll};
    ecg_runner *runner;
    const float *src = step->src ? step->src + first * t->config.leads * step->N : NULL;
    if (!src)
        outputs.entry = entry_at(t, step, first);
    p->step = *step;
    p->step.noise.first_row += first, p->step.noise.given_row = first;
    p->task = (ecg_head_task){.config = &t->config,
                              .network = &t->parameters,
                              .B = B,
                              .first = first,
                              .T = ecg_config_tokens(&t->config, step->N),
                              .batch = step->batch,
                              .sums = step->sums};
    if (step->backward)
        p->task.training = &t->training, p->task.noise = &p->step.noise;
    ECG_TRY(runner_for(t, &runner, B, step->N, step->threads, step->backward));
    ECG_TRY(prepare(t, runner, &p->task));
    ECG_TRY(ecg_runner_forward(runner, &p->encoded, &t->parameters, src, step->valid ? step->valid + first : NULL,
                               p->task.noise, &outputs));
    p->runner = runner;
    return ECG_OK;
}

/* The second half of the pass at hand. */
static ecg_status pass_backward(ecg_trainer *t, const ecg_company *all)
{
    ecg_pass *p = &t->pass;
    ecg_head *head = &p->runner->head;
    if (t->head->compared && t->head->compared(head->state))
        ECG_TRY(t->head->compare(head->state, all));
    if (!p->step.backward)
        return ECG_OK;
    ECG_TRY(t->head->backward(head->state, &p->encoded, &t->gradients));
    if (p->step.head_only || !p->runner->plan->keep)
        return ECG_OK;
    p->runner->plan->keep->overwrite = p->overwrite;
    return ecg_encode_backward(&t->gradients, &t->parameters, p->runner->plan, ecg_head_seams(head),
                               t->feature_grad_mult, &p->step.poll);
}

/* Refuses a batch, or begins its gradients: those of the layers' matrices are not set to 0, since its first pass
 * writes them. */
static ecg_status begin_step(ecg_trainer *t, const ecg_step *step)
{
    const ecg_head_task task = {.config = &t->config,
                                .network = &t->parameters,
                                .B = step->B,
                                .T = ecg_config_tokens(&t->config, step->N),
                                .batch = step->batch};
    t->pass = (ecg_pass){0};
    if (!step->src && t->training.first == 0)
        return ecg_fail(ECG_BAD_ARGUMENT, "all of the encoder is trained: no rows can be kept");
    if (t->head->check)
        ECG_TRY(t->head->check(&task));
    t->pass.overwrite = step->backward && !t->accumulating && !step->head_only;
    if (step->backward && !t->accumulating)
        begin(t, !t->pass.overwrite);
    return ECG_OK;
}

/* Ends a step: after a failure there are no gradients. */
static ecg_status end_step(ecg_trainer *t, const ecg_step *step, ecg_status status)
{
    if (status != ECG_OK && step->backward)
        t->accumulating = false;
    else if (step->backward && !step->head_only)
        adapters_backward(t);
    t->pass.runner = NULL;
    return status;
}

ecg_status ecg_trainer_run(ecg_trainer *t, const ecg_step *step)
{
    int64_t largest = t->head->splits ? ecg_pass_segments(&t->config, step->N, ECG_TRAINING_ROWS) : step->B;
    int64_t passes = (step->B + largest - 1) / largest, done = 0;
    ecg_status status = ECG_OK;
    ECG_TRY(begin_step(t, step));
    for (int64_t pass = 0; pass < passes && status == ECG_OK; pass++) {
        int64_t rows = (step->B - done) / (passes - pass); /* as equal as can be: at most two shapes */
        if (!step->backward)
            rows = step->B - done < largest ? step->B - done : largest;
        status = pass_forward(t, step, done, rows);
        if (status == ECG_OK)
            status = pass_backward(t, NULL);
        t->pass.overwrite = false;
        done += rows;
    }
    return end_step(t, step, status);
}

ecg_status ecg_trainer_below(ecg_trainer *t, const ecg_step *step, void *dst, ecg_dtype type, bool pooled)
{
    const ecg_config *c = &t->config;
    int64_t largest = ecg_pass_segments(c, step->N, ECG_TRAINING_ROWS), T = ecg_config_tokens(c, step->N);
    size_t width = (size_t)((pooled ? 1 : T) * c->C) * ecg_dtypes[type].size;
    ecg_outputs outputs = {.layer = -1, .poll = step->poll};
    if (t->training.first == 0 || (pooled && t->training.first < ecg_stages(c)))
        return ecg_fail(ECG_BAD_ARGUMENT, "of what lies below %s is trained",
                        pooled ? "the head, something" : "it, all");
    t->pass = (ecg_pass){0};
    for (int64_t done = 0, B; done < step->B; done += B) {
        B = step->B - done < largest ? step->B - done : largest;
        const ecg_head_task task = {.config = c, .network = &t->parameters, .B = B, .T = T};
        ecg_runner *runner;
        ecg_encoded encoded;
        outputs.entry = (ecg_entry){t->training.first, type, NULL, (char *)dst + (size_t)done * width, pooled};
        ECG_TRY(runner_for(t, &runner, B, step->N, step->threads, false));
        ECG_TRY(prepare(t, runner, &task));
        ECG_TRY(ecg_encode(&encoded, &t->parameters, runner->plan, step->src + done * c->leads * step->N,
                           step->valid ? step->valid + done : NULL, NULL, &outputs));
    }
    return ECG_OK;
}

ecg_status ecg_trainer_run_forward(ecg_trainer *t, const ecg_step *step, const float **rows)
{
    ECG_TRY(begin_step(t, step));
    ecg_status status = pass_forward(t, step, 0, step->B);
    if (status != ECG_OK)
        return end_step(t, step, status);
    *rows = t->head->compared ? t->head->compared(t->pass.runner->head.state) : NULL;
    return ECG_OK;
}

ecg_status ecg_trainer_run_backward(ecg_trainer *t, const ecg_company *all, const ecg_poll *poll)
{
    if (!ecg_trainer_waits(t))
        return ecg_fail(ECG_BAD_STATE, "no batch waits for its second half");
    t->pass.step.poll = *poll;
    return end_step(t, &t->pass.step, pass_backward(t, all));
}

bool ecg_trainer_waits(const ecg_trainer *t)
{
    return t->pass.runner != NULL;
}

void ecg_trainer_drop(ecg_trainer *t)
{
    t->pass.runner = NULL;
    t->accumulating = false;
}

/* Whether an update changes a tensor. */
static bool changes(const ecg_trainer *t, int64_t tensor, bool head_only)
{
    return t->chosen.trained[tensor] && (!head_only || t->table.parameters[tensor].flags & ECG_P_HEAD);
}

/* The sum of squares of all gradients: each piece on one thread, the pieces added in their order. */
static double all_squares(ecg_trainer *t, bool head_only)
{
    double sum = 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->piece_count; i++) {
        ecg_piece *p = &t->pieces[i];
        const float *gradients = t->blocks[ECG_GRADIENTS] + t->chosen.offsets[p->tensor] + p->begin;
        p->squares = changes(t, p->tensor, head_only) ? ecg_square_sum(gradients, p->count) : 0;
    }
    for (int64_t i = 0; i < t->piece_count; i++)
        sum += t->pieces[i].squares;
    return sum;
}

ecg_status ecg_trainer_update(ecg_trainer *t, const ecg_adam *adam, double denominator, double clip_norm,
                              bool head_only, double *gnorm, bool *applied)
{
    if (!t->accumulating)
        return ecg_fail(ECG_BAD_STATE, "there are no gradients: no batch was accumulated since the last update");
    double norm = sqrt(all_squares(t, head_only)) / denominator, factor = 1 / denominator;
    t->accumulating = false;
    *gnorm = norm;
    *applied = isfinite(norm);
    if (!*applied)
        return ECG_OK;
    if (clip_norm > 0 && clip_norm < norm + 1e-6)
        factor *= clip_norm / (norm + 1e-6);
    for (int64_t i = 0; i < t->table.count; i++)
        t->steps[i] += changes(t, i, head_only);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->piece_count; i++) {
        const ecg_piece *p = &t->pieces[i];
        int64_t at = t->chosen.offsets[p->tensor] + p->begin;
        ecg_adam own = *adam;
        own.lr *= t->rates[p->tensor];
        if (changes(t, p->tensor, head_only))
            ecg_adam_step(t->blocks[ECG_PARAMETERS] + at, t->blocks[ECG_EXP_AVG] + at, t->blocks[ECG_EXP_AVG_SQ] + at,
                          t->blocks[ECG_GRADIENTS] + at, p->count, t->steps[p->tensor], factor, &own);
    }
    if (!head_only)
        ecg_trainer_merge(t);
    return ECG_OK;
}
