#include "contrastive.h"

#include <math.h>
#include <string.h>

#include "../losses/cmsc.h"
#include "pairs.h"

/* R rows are masked steps; P quantized rows: those of the batch, then the codebook's negatives. */
typedef struct {
    ecg_head_state base;
    int64_t R, P;
    int64_t K, C, D, F; /* widths of features, encoder, quantized rows, final projections */
    bool glu;
    ecg_linear_ops code, project_q, gate, final;
    ecg_quantizer_shape shape;
    ecg_quantizer_kept kept;
    ecg_dropout_mask features_mask;        /* (R, K) */
    double penalty;                        /* mean of the squared conv features */
    float *targets, *diff_targets;         /* (R, K): the quantizer's input */
    float *code_logits, *diff_code_logits; /* (R, G, V) */
    float *quantized, *diff_quantized;     /* (P, D) */
    float *projected, *diff_projected;     /* (P, F): the targets of the contrastive loss, before the gate */
    float *gate_src, *diff_gate_src;       /* (P, 2F) */
    float *gated, *diff_gated;             /* (P, F); `projected` itself without a gate */
    float *rows, *diff_rows;               /* (R, C): the encoder's output at masked steps */
    float *predictions, *diff_predictions; /* (R, F) */
    float *logits, *norms;                 /* (R, candidates), (R + P) */
    float *quantizer_work;                 /* (R + 1, G, V) */
    ecg_pairs pairs;
    ecg_contrastive_weights *diff; /* where gradients are added */
} contrastive;

static const ecg_pretrain_batch *batch_of(const contrastive *h)
{
    return h->base.task->batch;
}

static ecg_contrastive_weights *weights_of(const ecg_network *network)
{
    return network->head;
}

/* ---- parameters ---- */

void ecg_put_contrastive_rows(ecg_table_builder *b, const ecg_config *c, bool front)
{
#define AT(member) offsetof(ecg_contrastive_weights, member)
    int64_t K = ecg_config_features(c), codes = c->latent_groups * c->latent_vars, width = ecg_config_latent(c);
    ecg_parameter mask = {.field = AT(mask_emb), .flags = ECG_P_HEAD | ECG_P_MASK, .init = ECG_INIT_UNIT};
    ecg_parameter vars = {.field = AT(vars), .flags = ECG_P_HEAD, .init = ECG_INIT_UNIT};
    ecg_parameter code = {.field = AT(code), .flags = ECG_P_HEAD | ECG_P_MATRIX, .init = ECG_INIT_NORMAL, .scale = 1};
    ecg_parameter bias = {.field = AT(code.bias), .flags = ECG_P_HEAD, .init = ECG_INIT_ZEROS};
    if (front) {
        ecg_put(b, mask, ECG_DIMS1(c->C), "mask_emb");
        return;
    }
    ecg_put(b, vars, ECG_DIMS3(1, codes, width / c->latent_groups), "quantizer.vars");
    ecg_put(b, code, ECG_DIMS2(codes, K), "quantizer.weight_proj.weight");
    ecg_put(b, bias, ECG_DIMS1(codes), "quantizer.weight_proj.bias");
    ecg_put_linear(b, AT(project_q), ECG_P_HEAD, c->final_dim, width, "project_q");
    if (c->target_glu)
        ecg_put_linear(b, AT(glu), ECG_P_HEAD, 2 * c->final_dim, c->final_dim, "target_glu.0");
    ecg_put_linear(b, AT(final), ECG_P_HEAD, c->final_dim, c->C, "final_proj");
#undef AT
}

/* ---- shapes and memory ---- */

/* The masked steps of all rows together. */
static int64_t count_masked(const ecg_pretrain_batch *batch, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; batch->steps && i < n; i++)
        count += batch->steps[i] != 0;
    return count;
}

/* The masked steps must be as many in each row, at least one. */
static ecg_status check_steps(const ecg_pretrain_batch *batch, int64_t B, int64_t T)
{
    int64_t first = 0;
    for (int64_t b = 0; b < B; b++) {
        int64_t count = 0;
        for (int64_t t = 0; t < T; t++)
            count += batch->steps[b * T + t] != 0;
        first = b == 0 ? count : first;
        if (count != first || count == 0)
            return ecg_fail(ECG_BAD_SIGNAL,
                            "row %lld has %lld masked steps, the first row %lld: they must be as many in each row, at "
                            "least one",
                            (long long)b, (long long)count, (long long)first);
    }
    return ECG_OK;
}

static ecg_status check(const ecg_head_task *task)
{
    const ecg_pretrain_batch *batch = task->batch;
    const ecg_config *c = task->config;
    int64_t R = count_masked(batch, task->B * task->T);
    double combinations = pow((double)c->latent_vars, (double)c->latent_groups);
    if (!batch->steps)
        return ECG_OK;
    ECG_TRY(check_steps(batch, task->B, task->T));
    for (int64_t i = 0; i < R * batch->negative_count; i++) {
        if (batch->negatives[i] < 0 || batch->negatives[i] >= R)
            return ecg_fail(ECG_BAD_SIGNAL, "negative %lld is row %d of %lld", (long long)i, batch->negatives[i],
                            (long long)R);
    }
    for (int64_t i = 0; i < R * batch->codebook_count; i++) {
        if (batch->codebook[i] < 0 || batch->codebook[i] >= combinations)
            return ecg_fail(ECG_BAD_SIGNAL, "negative %lld from the codebook is %d, which is none of its combinations",
                            (long long)i, batch->codebook[i]);
    }
    return ECG_OK;
}

static void free_ops(void *head)
{
    contrastive *h = head;
    ecg_linear_free(&h->code);
    ecg_linear_free(&h->project_q);
    ecg_linear_free(&h->gate);
    ecg_linear_free(&h->final);
    h->R = 0;
}

static ecg_status plan_linear(ecg_linear_ops *ops, const ecg_linear *weights, const ecg_linear_spec *spec,
                              ecg_work_sizes *sizes)
{
    ECG_TRY(ecg_linear_plan(ops, weights, spec, true, ECG_WRITE));
    ecg_linear_sizes(ops, sizes);
    return ECG_OK;
}

static ecg_status plan(void *head, ecg_work_sizes *sizes)
{
    contrastive *h = head;
    const ecg_head_task *task = h->base.task;
    const ecg_pretrain_batch *batch = task->batch;
    const ecg_config *c = task->config;
    const ecg_contrastive_weights *n = weights_of(task->network);
    int64_t R = count_masked(batch, task->B * task->T), P = ecg_elements(R, 1 + batch->codebook_count, 1);
    int64_t codes = c->latent_groups * c->latent_vars;
    if (P < 0)
        return ecg_fail(ECG_NO_MEMORY, "so many negatives are too large");
    h->K = ecg_config_features(c), h->C = c->C, h->F = c->final_dim, h->D = ecg_config_latent(c);
    h->glu = c->target_glu;
    h->pairs.ids = batch->ids, h->pairs.second = batch->second;
    h->pairs.weight = batch->settings.cmsc, h->pairs.temp = batch->settings.cmsc_temp;
    if (R == h->R && P == h->P)
        return ECG_OK;
    free_ops(h);
    h->P = P;
    h->shape = (ecg_quantizer_shape){.R = R, .G = c->latent_groups, .V = c->latent_vars, .D = h->D};
    if (R == 0)
        return ECG_OK;
    ECG_TRY(plan_linear(&h->code, &n->code, ECG_LINEAR(R, h->K, codes), sizes));
    ECG_TRY(plan_linear(&h->project_q, &n->project_q, ECG_LINEAR(P, h->D, h->F), sizes));
    ECG_TRY(plan_linear(&h->final, &n->final, ECG_LINEAR(R, h->C, h->F), sizes));
    if (h->glu)
        ECG_TRY(plan_linear(&h->gate, &n->glu, ECG_LINEAR(P, h->F, 2 * h->F), sizes));
    h->R = R;
    return ECG_OK;
}

static float *take(ecg_arena *arena, int64_t rows, int64_t columns)
{
    return ecg_arena_tensor(arena, ECG_F32, rows, columns, 1);
}

/* What the contrastive loss works in. */
static void lay_out_contrast(contrastive *h, ecg_arena *a)
{
    const ecg_pretrain_batch *batch = batch_of(h);
    double dropout = h->base.task->training ? batch->settings.dropout_features : 0;
    int64_t R = h->R, P = h->P, codes = h->shape.G * h->shape.V;
    h->targets = take(a, R, h->K);
    h->diff_targets = take(a, R, h->K);
    h->code_logits = take(a, R, codes);
    h->diff_code_logits = take(a, R, codes);
    h->quantizer_work = take(a, R + 1, codes);
    h->kept.soft = take(a, R, codes);
    h->kept.clean = take(a, R, codes);
    h->kept.codes = ecg_arena_take(a, P * h->shape.G, sizeof *h->kept.codes);
    h->kept.mean = ecg_arena_take(a, codes, sizeof *h->kept.mean);
    h->kept.hard = ecg_arena_take(a, codes, sizeof *h->kept.hard);
    h->quantized = take(a, P, h->D);
    h->diff_quantized = take(a, P, h->D);
    h->gated = h->projected = take(a, P, h->F);
    h->diff_gated = h->diff_projected = take(a, P, h->F);
    if (h->glu) {
        h->gate_src = take(a, P, 2 * h->F);
        h->diff_gate_src = take(a, P, 2 * h->F);
        h->gated = take(a, P, h->F);
        h->diff_gated = take(a, P, h->F);
    }
    h->rows = take(a, R, h->C);
    h->diff_rows = take(a, R, h->C);
    h->predictions = take(a, R, h->F);
    h->diff_predictions = take(a, R, h->F);
    h->logits = take(a, R, 1 + batch->negative_count + batch->codebook_count);
    h->norms = take(a, R + P, 1);
    ecg_take_mask(a, &h->features_mask, dropout, R, h->K, 1);
}

static void lay_out(void *head, ecg_arena *arena)
{
    contrastive *h = head;
    if (h->R)
        lay_out_contrast(h, arena);
    ecg_pairs_lay_out(&h->pairs, arena, h->base.task->B, h->C);
}

/* ---- in the encoder ---- */

/* dst (R, n) = the masked rows of src (M, n), one after another; and dst (M, n) += src (R, n) at those rows. */
static void gather_masked(float *dst, const float *src, const uint8_t *steps, int64_t M, int64_t n)
{
    for (int64_t m = 0; m < M; m++) {
        if (steps[m]) {
            memcpy(dst, src + m * n, (size_t)n * sizeof *dst);
            dst += n;
        }
    }
}

static void scatter_masked(float *dst, const float *src, const uint8_t *steps, int64_t M, int64_t n)
{
    for (int64_t m = 0; m < M; m++) {
        if (steps[m]) {
            ecg_add_forward(dst + m * n, src, n);
            src += n;
        }
    }
}

/* Masked steps of x become the embedding of the mask, then masked channels 0. */
static void apply_masks(const contrastive *h, float *x)
{
    const ecg_head_task *task = h->base.task;
    const ecg_pretrain_batch *batch = task->batch;
    const float *mask_emb = weights_of(task->network)->mask_emb;
    int64_t C = h->C;
    for (int64_t m = 0; m < task->B * task->T; m++) {
        const uint8_t *channels = batch->channels ? batch->channels + m / task->T * C : NULL;
        if (batch->steps[m] && !batch->settings.predicted_only)
            memcpy(x + m * C, mask_emb, (size_t)C * sizeof *mask_emb);
        for (int64_t c = 0; channels && c < C; c++)
            x[m * C + c] = channels[c] ? 0 : x[m * C + c];
    }
}

/* The gradient at masked steps goes to the embedding of the mask, and no further. */
static void masks_backward(const contrastive *h, float *x)
{
    const ecg_head_task *task = h->base.task;
    const ecg_pretrain_batch *batch = task->batch;
    float *diff_mask_emb = h->diff->mask_emb;
    int64_t C = h->C;
    for (int64_t m = 0; m < task->B * task->T; m++) {
        const uint8_t *channels = batch->channels ? batch->channels + m / task->T * C : NULL;
        float *row = x + m * C;
        for (int64_t c = 0; c < C; c++) {
            bool masked = batch->steps[m] && !batch->settings.predicted_only;
            float diff = channels && channels[c] ? 0 : row[c];
            if (masked)
                diff_mask_emb[c] += diff;
            row[c] = masked ? 0 : diff;
        }
    }
}

static void at_seam(void *head, ecg_seam seam, float *data)
{
    contrastive *h = head;
    const ecg_head_task *task = h->base.task;
    int64_t M = task->B * task->T;
    if (!h->R)
        return;
    if (seam == ECG_AT_FEATURES)
        h->penalty = ecg_square_sum(data, M * h->K) / (double)(M * h->K);
    else if (seam == ECG_AT_NORMED)
        gather_masked(h->targets, data, batch_of(h)->steps, M, h->K);
    else
        apply_masks(h, data);
}

static void at_seam_backward(void *head, ecg_seam seam, float *diff, float *data)
{
    contrastive *h = head;
    int64_t M = h->base.task->B * h->base.task->T, n = M * h->K;
    if (!h->R)
        return;
    if (seam == ECG_AT_STREAM) {
        masks_backward(h, diff);
    } else if (seam == ECG_AT_NORMED) {
        scatter_masked(diff, h->diff_targets, batch_of(h)->steps, M, h->K);
    } else {
        double diff_penalty = batch_of(h)->settings.penalty * (double)h->R;
        ecg_scale(data, (float)(2 * diff_penalty / (double)n), n);
        ecg_add_forward(diff, data, n);
    }
}

/* ---- forward ---- */

/* The codes of the negatives that come from the codebook: a combination's digits, the first group's in front. */
static void codebook_codes(contrastive *h)
{
    int64_t V = h->shape.V, G = h->shape.G;
    for (int64_t i = 0; i < h->P - h->R; i++) {
        int64_t rest = batch_of(h)->codebook[i];
        for (int64_t g = G - 1; g >= 0; g--) {
            h->kept.codes[(h->R + i) * G + g] = (int32_t)(rest % V);
            rest /= V;
        }
    }
}

static ecg_infonce_shape infonce_shape(const contrastive *h)
{
    const ecg_pretrain_batch *batch = batch_of(h);
    return (ecg_infonce_shape){.R = h->R,
                               .D = h->F,
                               .negatives = batch->negative_count,
                               .extra = batch->codebook_count,
                               .G = h->shape.G,
                               .temp = batch->settings.logit_temp,
                               .binary = batch->settings.binary};
}

/* The quantized targets: of the masked steps, then of the codebook's negatives. */
static ecg_status targets_forward(contrastive *h, const ecg_contrastive_weights *n)
{
    const ecg_head_task *task = h->base.task;
    const ecg_work *work = &h->base.work;
    ecg_quantizer_shape further = h->shape;
    further.R = h->P - h->R;
    ecg_make_mask(&h->features_mask, task->noise, task->B, h->R / task->B * h->K, ECG_DRAW_FEATURES, 0);
    ecg_dropout(h->targets, h->targets, &h->features_mask, h->R * h->K);
    ECG_TRY(ecg_linear_forward(h->code_logits, h->targets, &n->code, &h->code, work));
    ecg_quantizer_forward(h->quantized, &h->kept, h->code_logits, batch_of(h)->gumbel, n->vars,
                          batch_of(h)->settings.temp, &h->shape);
    codebook_codes(h);
    ecg_entries_forward(h->quantized + h->R * h->D, h->kept.codes + h->R * h->shape.G, n->vars, &further);
    ECG_TRY(ecg_linear_forward(h->projected, h->quantized, &n->project_q, &h->project_q, work));
    if (h->glu) {
        ECG_TRY(ecg_linear_forward(h->gate_src, h->projected, &n->glu, &h->gate, work));
        ecg_glu_forward(h->gated, h->gate_src, h->P, h->F);
    }
    return ECG_OK;
}

/* The contrastive loss, and what the quantizer and the features add to it. */
static ecg_status contrast_forward(contrastive *h, const ecg_encoded *encoded)
{
    const ecg_pretrain_batch *batch = batch_of(h);
    const ecg_contrastive_weights *n = weights_of(h->base.task->network);
    ecg_pretrain_sums *sums = h->base.task->sums;
    ecg_infonce_shape shape = infonce_shape(h);
    ecg_infonce_sums contrast = {0};
    double S = (double)h->R, codes = (double)(h->shape.G * h->shape.V);
    ECG_TRY(targets_forward(h, n));
    gather_masked(h->rows, encoded->output, batch->steps, encoded->B * encoded->T, h->C);
    ECG_TRY(ecg_linear_forward(h->predictions, h->rows, &n->final, &h->final, &h->base.work));
    ecg_infonce_forward(&contrast, h->logits, h->norms, h->predictions, h->gated, h->kept.codes, batch->negatives,
                        &shape);
    sums->contrastive += contrast.loss;
    sums->correct += contrast.correct;
    sums->diversity += batch->settings.diversity * S * (codes - h->kept.prob_perplexity) / codes;
    sums->penalty += batch->settings.penalty * S * h->penalty;
    sums->prob_perplexity += h->kept.prob_perplexity;
    sums->code_perplexity += h->kept.code_perplexity;
    if (batch->codes)
        memcpy(batch->codes, h->kept.codes, (size_t)(h->R * h->shape.G) * sizeof *batch->codes);
    int64_t candidates = 1 + batch->negative_count + batch->codebook_count;
    if (batch->logits)
        memcpy(batch->logits, h->logits, (size_t)(h->R * candidates) * sizeof *batch->logits);
    return ECG_OK;
}

static ecg_status forward(void *head, const ecg_encoded *encoded)
{
    contrastive *h = head;
    const ecg_pretrain_batch *batch = batch_of(h);
    ecg_pretrain_sums *sums = h->base.task->sums;
    if (h->R)
        ECG_TRY(contrast_forward(h, encoded));
    h->pairs.size = h->R ? h->R : ecg_cmsc_places(batch->ids, batch->second, encoded->B);
    sums->rows += h->pairs.size;
    if (batch->ids)
        ecg_pool_forward(h->pairs.pooled, encoded->output, encoded->B, encoded->T, h->C);
    return ECG_OK;
}

static const float *compared(void *head)
{
    const contrastive *h = head;
    return h->pairs.ids ? h->pairs.pooled : NULL;
}

static ecg_status compare(void *head, const ecg_company *all)
{
    contrastive *h = head;
    double loss;
    ECG_TRY(ecg_pairs_compare(&loss, &h->pairs, ecg_cmsc, all, h->base.task->B, h->C));
    ((ecg_pretrain_sums *)h->base.task->sums)->cmsc += loss;
    return ECG_OK;
}

/* ---- backward ---- */

/* h->diff_rows becomes the gradient of the encoder's output at masked steps, h->diff_targets that of the quantizer's
 * input. */
static ecg_status contrast_backward(contrastive *h, const ecg_contrastive_weights *diff)
{
    const ecg_pretrain_batch *batch = batch_of(h);
    const ecg_contrastive_weights *n = weights_of(h->base.task->network);
    const ecg_work *work = &h->base.work;
    ecg_infonce_shape shape = infonce_shape(h);
    double codes = (double)(h->shape.G * h->shape.V);
    ecg_infonce_backward(h->diff_predictions, h->diff_gated, h->logits, h->norms, h->predictions, h->gated,
                         batch->negatives, &shape);
    ECG_TRY(ecg_linear_backward(h->diff_rows, &diff->final, h->diff_predictions, h->rows, &n->final, &h->final, work));
    if (h->glu) {
        ecg_glu_backward(h->diff_gate_src, h->diff_gated, h->gate_src, h->P, h->F);
        ECG_TRY(ecg_linear_backward(h->diff_projected, &diff->glu, h->diff_gate_src, h->projected, &n->glu, &h->gate,
                                    work));
    }
    ECG_TRY(ecg_linear_backward(h->diff_quantized, &diff->project_q, h->diff_projected, h->quantized, &n->project_q,
                                &h->project_q, work));
    ecg_quantizer_shape further = h->shape;
    further.R = h->P - h->R;
    ecg_entries_backward(diff->vars, h->diff_quantized + h->R * h->D, h->kept.codes + h->R * h->shape.G, &further);
    ecg_quantizer_backward(h->diff_code_logits, diff->vars, h->quantizer_work, h->diff_quantized,
                           -batch->settings.diversity * (double)h->R / codes, &h->kept, n->vars, batch->settings.temp,
                           &h->shape);
    ECG_TRY(
        ecg_linear_backward(h->diff_targets, &diff->code, h->diff_code_logits, h->targets, &n->code, &h->code, work));
    ecg_dropout(h->diff_targets, h->diff_targets, &h->features_mask, h->R * h->K);
    return ECG_OK;
}

static ecg_status backward(void *head, const ecg_encoded *encoded, const ecg_network *diff)
{
    contrastive *h = head;
    int64_t M = encoded->B * encoded->T;
    float *x = encoded->output;
    h->diff = weights_of(diff);
    if (h->R)
        ECG_TRY(contrast_backward(h, h->diff));
    if (h->pairs.ids)
        ecg_pool_backward(x, h->pairs.diff_pooled, x, encoded->B, encoded->T, h->C);
    else
        memset(x, 0, (size_t)(M * h->C) * sizeof *x);
    if (h->R)
        scatter_masked(x, h->diff_rows, batch_of(h)->steps, M, h->C);
    return ECG_OK;
}

const ecg_head_type ecg_head_contrastive = {
    .name = "contrastive",
    .kind = ECG_PRETRAINING,
    .rows = {"", sizeof(ecg_contrastive_weights), ecg_put_contrastive_rows},
    .size = sizeof(contrastive),
    .check = check,
    .plan = plan,
    .lay_out = lay_out,
    .at_seam = at_seam,
    .at_seam_backward = at_seam_backward,
    .forward = forward,
    .compared = compared,
    .compare = compare,
    .backward = backward,
    .free = free_ops,
};
