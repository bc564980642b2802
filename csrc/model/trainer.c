#include "trainer.h"

#include <math.h>
#include <string.h>

#include "workspace.h"

/* Rows (tokens of all segments together) of one pass: enough for the matrix products to be fast, few enough for
 * what is kept of a pass to stay small beside the parameters. */
#define PASS_ROWS 1000
#define PIECE ((int64_t)1 << 16)

static ecg_status allocate(void **dst, int64_t count, size_t size)
{
    ECG_TRY(ecg_alloc(dst, (size_t)count * size));
    memset(*dst, 0, (size_t)count * size);
    return ECG_OK;
}

/* Gives the tensors their places: those that are trained, then those that are not. */
static void place(ecg_trainer *t)
{
    for (int64_t i = 0; i < t->table.count; i++)
        t->trained[i] = !(t->table.parameters[i].flags & t->training.frozen);
    int64_t trained = ecg_table_place(&t->table, t->offsets, t->trained, true, 0);
    for (int block = 0; block < ECG_BLOCKS; block++)
        t->sizes[block] = trained;
    t->sizes[ECG_PARAMETERS] = ecg_table_place(&t->table, t->offsets, t->trained, false, trained);
}

static ecg_status cut_into_pieces(ecg_trainer *t)
{
    for (int pass = 0; pass < 2; pass++) {
        t->piece_count = 0;
        for (int64_t i = 0; i < t->table.count; i++) {
            int64_t count = t->trained[i] ? t->table.parameters[i].count : 0;
            for (int64_t begin = 0; begin < count; begin += PIECE) {
                if (t->pieces)
                    t->pieces[t->piece_count] = (ecg_piece){i, begin, count - begin < PIECE ? count - begin : PIECE, 0};
                t->piece_count++;
            }
        }
        if (pass == 0)
            ECG_TRY(allocate((void **)&t->pieces, t->piece_count, sizeof *t->pieces));
    }
    return ECG_OK;
}

ecg_status ecg_trainer_create(ecg_trainer *t, const ecg_config *config, const ecg_training *training,
                              double feature_grad_mult)
{
    ecg_status status = ECG_OK;
    memset(t, 0, sizeof *t);
    ECG_TRY(ecg_table_create(&t->table, config));
    t->config = *config;
    t->training = *training;
    t->feature_grad_mult = feature_grad_mult;
    t->training.frozen |= feature_grad_mult != 0 ? 0 : ECG_P_EXTRACTOR;
    int64_t count = t->table.count;
    ECG_TRY_GOTO(allocate((void **)&t->offsets, count, sizeof *t->offsets));
    ECG_TRY_GOTO(allocate((void **)&t->trained, count, sizeof *t->trained));
    ECG_TRY_GOTO(allocate((void **)&t->steps, count, sizeof *t->steps));
    place(t);
    for (int block = 0; block < ECG_BLOCKS; block++)
        ECG_TRY_GOTO(allocate((void **)&t->blocks[block], t->sizes[block], sizeof(float)));
    ECG_TRY_GOTO(ecg_network_create(&t->parameters, config));
    ECG_TRY_GOTO(ecg_network_create(&t->gradients, config));
    for (int64_t i = 0; i < count; i++) {
        const ecg_parameter *p = &t->table.parameters[i];
        ecg_network_connect(&t->parameters, p, ecg_trainer_tensor(t, ECG_PARAMETERS, i));
        ecg_network_connect(&t->gradients, p, ecg_trainer_tensor(t, ECG_GRADIENTS, i));
    }
    ECG_TRY_GOTO(cut_into_pieces(t));
    return ECG_OK;
fail:
    ecg_trainer_free(t);
    return status;
}

void ecg_trainer_free(ecg_trainer *t)
{
    for (int i = 0; i < ECG_TRAINER_PLANS; i++)
        ecg_workspace_free(t->plans[i].workspace);
    for (int block = 0; block < ECG_BLOCKS; block++)
        ecg_free(t->blocks[block]);
    ecg_network_free(&t->parameters);
    ecg_network_free(&t->gradients);
    ecg_free(t->offsets);
    ecg_free(t->trained);
    ecg_free(t->steps);
    ecg_free(t->pieces);
    ecg_free(t->memory);
    ecg_free(t->heads);
    ecg_free(t->logits);
    ecg_free(t->diff_logits);
    ecg_table_free(&t->table);
    memset(t, 0, sizeof *t);
}

float *ecg_trainer_tensor(const ecg_trainer *t, ecg_block block, int64_t index)
{
    return block == ECG_PARAMETERS || t->trained[index] ? t->blocks[block] + t->offsets[index] : NULL;
}

/* ---- plans and their memory ---- */

ecg_status ecg_trainer_plan_for(ecg_trainer *t, ecg_workspace **dst, int64_t B, int64_t N, int threads, bool trains)
{
    ecg_trainer_plan *plan = &t->plans[0];
    for (int i = 0; i < ECG_TRAINER_PLANS; i++) {
        ecg_trainer_plan *p = &t->plans[i];
        if (p->workspace && p->B == B && p->N == N && p->threads == threads && p->trains == trains) {
            plan = p;
            break;
        }
        if (!p->workspace || (plan->workspace && p->used < plan->used))
            plan = p; /* the first empty one, or the one not used for longest */
    }
    if (!plan->workspace || plan->B != B || plan->N != N || plan->threads != threads || plan->trains != trains) {
        ecg_workspace_free(plan->workspace);
        *plan = (ecg_trainer_plan){NULL, B, N, threads, trains, 0};
        ECG_TRY(ecg_workspace_plan(&plan->workspace, &t->config, &t->parameters, B, N, threads,
                                   trains ? &t->training : NULL));
    }
    size_t bytes = ecg_workspace_bytes(plan->workspace);
    if (bytes > t->memory_bytes) {
        ecg_free(t->memory);
        t->memory = NULL;
        t->memory_bytes = 0;
        ECG_TRY(ecg_alloc(&t->memory, bytes));
        t->memory_bytes = bytes;
    }
    plan->used = ++t->uses;
    ecg_workspace_place(plan->workspace, t->memory);
    *dst = plan->workspace;
    return ECG_OK;
}

static ecg_status reserve_logits(ecg_trainer *t, int64_t rows)
{
    if (rows <= t->logits_rows)
        return ECG_OK;
    ecg_free(t->logits);
    ecg_free(t->diff_logits);
    t->logits = t->diff_logits = NULL;
    t->logits_rows = 0;
    ECG_TRY(allocate((void **)&t->logits, rows * t->config.labels, sizeof(float)));
    ECG_TRY(allocate((void **)&t->diff_logits, rows * t->config.labels, sizeof(float)));
    t->logits_rows = rows;
    return ECG_OK;
}

int64_t ecg_trainer_pass(const ecg_trainer *t, int64_t N)
{
    int64_t T = ecg_config_tokens(&t->config, N);
    return T < 1 || T >= PASS_ROWS ? 1 : PASS_ROWS / T;
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
            memset(t->blocks[ECG_GRADIENTS] + t->offsets[p->tensor] + p->begin, 0, (size_t)p->count * sizeof(float));
    }
}

void ecg_trainer_begin(ecg_trainer *t)
{
    if (!t->accumulating)
        begin(t, true);
}

ecg_status ecg_trainer_accumulate(ecg_trainer *t, ecg_bce_sums *sums, const float *src, const int64_t *valid,
                                  const float *labels, const float *pos_weight, int64_t B, int64_t N, bool head_only,
                                  ecg_noise *noise, int threads, ecg_status (*poll)(void *context), void *context)
{
    ecg_status status = ECG_OK;
    int64_t largest = ecg_trainer_pass(t, N), passes = (B + largest - 1) / largest, Y = t->config.labels, done = 0;
    int64_t row0 = noise->first_row;
    bool first = !t->accumulating;
    if (first)
        begin(t, head_only);
    for (int64_t pass = 0; pass < passes; pass++) { /* as equal as can be: at most two shapes */
        int64_t rows = (B - done) / (passes - pass);
        ecg_workspace *w;
        ECG_TRY_GOTO(ecg_trainer_plan_for(t, &w, rows, N, threads, true));
        ECG_TRY_GOTO(reserve_logits(t, rows));
        ecg_outputs outputs = {.logits = t->logits, .layer = -1, .poll = poll, .context = context};
        noise->first_row = row0 + done;
        noise->given_row = done;
        ECG_TRY_GOTO(ecg_forward(&t->parameters, w, src + done * t->config.leads * N, valid ? valid + done : NULL,
                                 noise, &outputs));
        w->overwrite = first && pass == 0;
        ecg_bce_forward(sums, t->logits, labels + done * Y, pos_weight, rows, Y);
        ecg_bce_backward(t->diff_logits, t->logits, labels + done * Y, pos_weight, rows, Y);
        ECG_TRY_GOTO(ecg_backward(&t->gradients, &t->parameters, w, t->diff_logits, head_only, t->feature_grad_mult,
                                  poll, context));
        done += rows;
    }
    return ECG_OK;
fail:
    t->accumulating = false;
    return status;
}

/* The sum of squares of all gradients: each piece on one thread, the pieces added in their order. */
static double all_squares(ecg_trainer *t, bool head_only)
{
    double sum = 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->piece_count; i++) {
        ecg_piece *p = &t->pieces[i];
        bool counts = !head_only || t->table.parameters[p->tensor].flags & ECG_P_HEAD;
        const float *gradients = t->blocks[ECG_GRADIENTS] + t->offsets[p->tensor] + p->begin;
        p->squares = counts ? ecg_square_sum(gradients, p->count) : 0;
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
        t->steps[i] += t->trained[i] && (!head_only || t->table.parameters[i].flags & ECG_P_HEAD);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->piece_count; i++) {
        const ecg_piece *p = &t->pieces[i];
        int64_t at = t->offsets[p->tensor] + p->begin;
        if (!head_only || t->table.parameters[p->tensor].flags & ECG_P_HEAD)
            ecg_adam_step(t->blocks[ECG_PARAMETERS] + at, t->blocks[ECG_EXP_AVG] + at, t->blocks[ECG_EXP_AVG_SQ] + at,
                          t->blocks[ECG_GRADIENTS] + at, p->count, t->steps[p->tensor], factor, adam);
    }
    return ECG_OK;
}

ecg_status ecg_trainer_forward(ecg_trainer *t, const float *src, const int64_t *valid, int64_t B, int64_t N,
                               int threads, const ecg_outputs *outputs)
{
    ecg_workspace *w;
    ECG_TRY(ecg_trainer_plan_for(t, &w, B, N, threads, false));
    return ecg_forward(&t->parameters, w, src, valid, NULL, outputs);
}
