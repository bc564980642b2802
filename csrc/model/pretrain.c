#include "pretrain.h"

#include <string.h>

#include "workspace.h"

/* The heads of one batch: their operations for R rows, and what they work in. */
typedef struct {
    int64_t R, P;       /* rows; quantized rows: those of the batch, then the codebook's negatives */
    int64_t K, C, D, F; /* widths of features, encoder, quantized rows, final projections */
    bool glu;
    ecg_linear_ops code, project_q, gate, final;
    ecg_work_sizes sizes;
    ecg_work work;
    ecg_quantizer_shape shape;
    ecg_quantizer_kept kept;
    ecg_dropout_mask features_mask;        /* (R, K) */
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
    float *pooled, *diff_pooled;           /* (B, C) */
    double *similarity;                    /* (B, B) */
} heads;

static float *take(ecg_arena *arena, int64_t a, int64_t b)
{
    int64_t count;
    if (!ecg_product(&count, 2, (int64_t[]){a, b}))
        count = -1;
    return ecg_arena_take(arena, count, sizeof(float));
}

/* What the contrastive loss works in. */
static void lay_out_contrast(heads *h, ecg_arena *a, const ecg_pretrain_batch *batch, double dropout)
{
    int64_t R = h->R, P = h->P, codes = h->shape.G * h->shape.V;
    h->work.packed = ecg_arena_take(a, (int64_t)h->sizes.packed, 1);
    h->work.scratch = ecg_arena_take(a, (int64_t)h->sizes.scratch, 1);
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
    h->features_mask = (ecg_dropout_mask){.p = dropout, .scale = (float)(1 / (1 - dropout))};
    if (dropout > 0)
        h->features_mask.keep = ecg_arena_take(a, R * h->K, 1);
}

static void lay_out(heads *h, ecg_arena *a, const ecg_pretrain_batch *batch, double dropout)
{
    a->used = 0;
    if (h->R)
        lay_out_contrast(h, a, batch, dropout);
    h->pooled = take(a, batch->B, h->C);
    h->diff_pooled = take(a, batch->B, h->C);
    h->similarity = ecg_arena_take(a, batch->B * batch->B, sizeof *h->similarity);
}

static ecg_status plan(heads *h, const ecg_trainer *t)
{
    const ecg_network *n = &t->parameters;
    if (h->R == 0)
        return ECG_OK;
    ECG_TRY(ecg_linear_plan(&h->code, &n->code, ECG_LINEAR(h->R, h->K, h->shape.G * h->shape.V), true, ECG_WRITE));
    ECG_TRY(ecg_linear_plan(&h->project_q, &n->project_q, ECG_LINEAR(h->P, h->D, h->F), true, ECG_WRITE));
    ECG_TRY(ecg_linear_plan(&h->final, &n->final, ECG_LINEAR(h->R, h->C, h->F), true, ECG_WRITE));
    ecg_linear_sizes(&h->code, &h->sizes);
    ecg_linear_sizes(&h->project_q, &h->sizes);
    ecg_linear_sizes(&h->final, &h->sizes);
    if (h->glu) {
        ECG_TRY(ecg_linear_plan(&h->gate, &n->glu, ECG_LINEAR(h->P, h->F, 2 * h->F), true, ECG_WRITE));
        ecg_linear_sizes(&h->gate, &h->sizes);
    }
    return ECG_OK;
}

static void heads_free(heads *h)
{
    ecg_linear_free(&h->code);
    ecg_linear_free(&h->project_q);
    ecg_linear_free(&h->gate);
    ecg_linear_free(&h->final);
}

/* Prepares the heads; their memory is the trainer's and grows when it must. */
static ecg_status heads_create(heads *h, ecg_trainer *t, const ecg_pretrain_batch *batch, int64_t rows, double dropout)
{
    const ecg_config *c = &t->config;
    ecg_arena arena = {0};
    int64_t P;
    if (!ecg_product(&P, 2, (int64_t[]){rows, 1 + batch->codebook_count}))
        return ecg_fail(ECG_NO_MEMORY, "so many negatives are too large");
    *h = (heads){.R = rows,
                 .P = P,
                 .K = ecg_config_features(c),
                 .C = c->C,
                 .F = c->final_dim,
                 .D = ecg_config_latent(c),
                 .glu = c->target_glu};
    h->shape = (ecg_quantizer_shape){.R = rows, .G = c->latent_groups, .V = c->latent_vars, .D = h->D};
    ECG_TRY(plan(h, t));
    lay_out(h, &arena, batch, dropout);
    if (arena.overflow)
        return ecg_fail(ECG_NO_MEMORY, "a batch with %lld masked steps is too large", (long long)rows);
    if (arena.peak > t->heads_bytes) {
        ecg_free(t->heads);
        t->heads = NULL;
        t->heads_bytes = 0;
        ECG_TRY(ecg_alloc(&t->heads, arena.peak));
        t->heads_bytes = arena.peak;
    }
    arena.base = t->heads;
    lay_out(h, &arena, batch, dropout);
    return ECG_OK;
}

/* The masked steps of all rows together; they must be as many in each row, at least one. */
static ecg_status count_masked(int64_t *dst, const ecg_pretrain_batch *batch, int64_t T)
{
    int64_t first = 0, total = 0;
    for (int64_t b = 0; b < batch->B; b++) {
        int64_t count = 0;
        for (int64_t t = 0; t < T; t++)
            count += batch->steps[b * T + t] != 0;
        first = b == 0 ? count : first;
        if (count != first || count == 0)
            return ecg_fail(ECG_BAD_SIGNAL,
                            "row %lld has %lld masked steps, the first row %lld: they must be as many "
                            "in each row, at least one",
                            (long long)b, (long long)count, (long long)first);
        total += count;
    }
    for (int64_t i = 0; i < total * batch->negative_count; i++) {
        if (batch->negatives[i] < 0 || batch->negatives[i] >= total)
            return ecg_fail(ECG_BAD_SIGNAL, "negative %lld is row %d of %lld", (long long)i, batch->negatives[i],
                            (long long)total);
    }
    *dst = total;
    return ECG_OK;
}

/* The codes of the negatives that come from the codebook: a combination's digits, the first group's in front. */
static ecg_status codebook_codes(heads *h, const ecg_pretrain_batch *batch)
{
    int64_t V = h->shape.V, G = h->shape.G;
    for (int64_t i = 0; i < h->P - h->R; i++) {
        int64_t rest = batch->codebook[i];
        for (int64_t g = G - 1; g >= 0; g--) {
            h->kept.codes[(h->R + i) * G + g] = (int32_t)(rest % V);
            rest /= V;
        }
        if (rest || batch->codebook[i] < 0)
            return ecg_fail(ECG_BAD_SIGNAL, "negative %lld from the codebook is %d, which is none of its combinations",
                            (long long)i, batch->codebook[i]);
    }
    return ECG_OK;
}

static ecg_infonce_shape infonce_shape(const heads *h, const ecg_pretrain_batch *batch,
                                       const ecg_pretrain_settings *settings)
{
    return (ecg_infonce_shape){.R = h->R,
                               .D = h->F,
                               .negatives = batch->negative_count,
                               .extra = batch->codebook_count,
                               .G = h->shape.G,
                               .temp = settings->logit_temp,
                               .binary = settings->binary};
}

/* Draws the mask of the quantizer's input, or takes it from the caller. */
static void make_features_mask(const heads *h, const ecg_pretrain_batch *batch, const ecg_noise *noise)
{
    const uint8_t *given = noise->given ? noise->given(noise->context, ECG_DRAW_FEATURES, 0) : NULL;
    if (given)
        memcpy(h->features_mask.keep, given, (size_t)(h->R * h->K));
    else
        ecg_dropout_draw(&h->features_mask, batch->B, h->R / batch->B * h->K, &noise->key, ECG_DRAW_FEATURES, 0,
                         noise->first_row);
}

/* The contrastive loss, and what the quantizer and the features add to it. */
static ecg_status contrast_forward(heads *h, ecg_trainer *t, ecg_workspace *w, ecg_pretrain_sums *sums,
                                   const ecg_pretrain_batch *batch, const ecg_pretrain_settings *settings,
                                   const ecg_masking *masking)
{
    const ecg_network *n = &t->parameters;
    ecg_infonce_shape shape = infonce_shape(h, batch, settings);
    ecg_infonce_sums contrast = {0};
    double S = (double)h->R, codes = (double)(h->shape.G * h->shape.V);
    if (h->features_mask.keep)
        make_features_mask(h, batch, w->noise);
    ecg_dropout(h->targets, h->targets, &h->features_mask, h->R * h->K);
    ECG_TRY(ecg_linear_forward(h->code_logits, h->targets, &n->code, &h->code, &h->work));
    ecg_quantizer_forward(h->quantized, &h->kept, h->code_logits, batch->gumbel, n->vars, settings->temp, &h->shape);
    ecg_quantizer_shape further = h->shape;
    further.R = h->P - h->R;
    ECG_TRY(codebook_codes(h, batch));
    ecg_entries_forward(h->quantized + h->R * h->D, h->kept.codes + h->R * h->shape.G, n->vars, &further);
    ECG_TRY(ecg_linear_forward(h->projected, h->quantized, &n->project_q, &h->project_q, &h->work));
    if (h->glu) {
        ECG_TRY(ecg_linear_forward(h->gate_src, h->projected, &n->glu, &h->gate, &h->work));
        ecg_glu_forward(h->gated, h->gate_src, h->P, h->F);
    }
    ecg_gather_masked(h->rows, w->x, batch->steps, ecg_rows(w), h->C);
    ECG_TRY(ecg_linear_forward(h->predictions, h->rows, &n->final, &h->final, &h->work));
    ecg_infonce_forward(&contrast, h->logits, h->norms, h->predictions, h->gated, h->kept.codes, batch->negatives,
                        &shape);
    sums->contrastive += contrast.loss;
    sums->correct += contrast.correct;
    sums->diversity += settings->diversity * S * (codes - h->kept.prob_perplexity) / codes;
    sums->penalty += settings->penalty * S * masking->penalty;
    sums->prob_perplexity += h->kept.prob_perplexity;
    sums->code_perplexity += h->kept.code_perplexity;
    return ECG_OK;
}

/* CMSC over the rows of all ranks: h->diff_pooled becomes what this rank's rows have of the gradient of the whole,
 * *loss the mean over all places. The other ranks' rows cost memory only while this runs. */
static ecg_status cmsc_in_company(double *loss, heads *h, const ecg_pretrain_batch *batch,
                                  const ecg_pretrain_settings *settings)
{
    const ecg_company *all = batch->company;
    int64_t values, squares;
    void *features = NULL, *diff = NULL, *work = NULL;
    ecg_status status;
    if (!ecg_product(&values, 3, (int64_t[]){all->rows, h->C, sizeof(float)}) ||
        !ecg_product(&squares, 3, (int64_t[]){all->rows, all->rows, sizeof(double)}))
        return ecg_fail(ECG_NO_MEMORY, "the rows of all ranks do not fit in memory");
    ECG_TRY_GOTO(ecg_alloc(&features, (size_t)values));
    ECG_TRY_GOTO(ecg_alloc(&diff, (size_t)values));
    ECG_TRY_GOTO(ecg_alloc(&work, (size_t)squares));
    ECG_TRY_GOTO(all->gather(all->context, features, h->pooled));
    *loss = ecg_cmsc(diff, work, features, all->ids, all->second, settings->cmsc_temp,
                     settings->cmsc * (double)all->size, all->rows, h->C);
    memcpy(h->diff_pooled, (float *)diff + all->offset * h->C, (size_t)(batch->B * h->C) * sizeof(float));
fail:
    ecg_free(features), ecg_free(diff), ecg_free(work);
    return status;
}

static ecg_status heads_forward(heads *h, ecg_trainer *t, ecg_workspace *w, ecg_pretrain_sums *sums,
                                const ecg_pretrain_batch *batch, const ecg_pretrain_settings *settings,
                                const ecg_masking *masking)
{
    int64_t size = h->R;
    if (h->R)
        ECG_TRY(contrast_forward(h, t, w, sums, batch, settings, masking));
    else
        size = ecg_cmsc_places(batch->ids, batch->second, batch->B);
    if (batch->ids) {
        double weight = settings->cmsc * (double)size, loss = 0;
        ecg_pool_forward(h->pooled, w->x, w->B, w->T, h->C);
        if (batch->company)
            ECG_TRY(cmsc_in_company(&loss, h, batch, settings));
        else
            loss = ecg_cmsc(h->diff_pooled, h->similarity, h->pooled, batch->ids, batch->second, settings->cmsc_temp,
                            weight, batch->B, h->C);
        sums->cmsc += weight * loss;
    }
    sums->rows += size;
    return ECG_OK;
}

/* h->diff_rows becomes the gradient of the encoder's output at masked steps, h->diff_targets that of the quantizer's
 * input. */
static ecg_status contrast_backward(heads *h, ecg_trainer *t, const ecg_pretrain_batch *batch,
                                    const ecg_pretrain_settings *settings)
{
    const ecg_network *n = &t->parameters, *diff = &t->gradients;
    ecg_infonce_shape shape = infonce_shape(h, batch, settings);
    double codes = (double)(h->shape.G * h->shape.V);
    ecg_infonce_backward(h->diff_predictions, h->diff_gated, h->logits, h->norms, h->predictions, h->gated,
                         batch->negatives, &shape);
    ECG_TRY(
        ecg_linear_backward(h->diff_rows, &diff->final, h->diff_predictions, h->rows, &n->final, &h->final, &h->work));
    if (h->glu) {
        ecg_glu_backward(h->diff_gate_src, h->diff_gated, h->gate_src, h->P, h->F);
        ECG_TRY(ecg_linear_backward(h->diff_projected, &diff->glu, h->diff_gate_src, h->projected, &n->glu, &h->gate,
                                    &h->work));
    }
    ECG_TRY(ecg_linear_backward(h->diff_quantized, &diff->project_q, h->diff_projected, h->quantized, &n->project_q,
                                &h->project_q, &h->work));
    ecg_quantizer_shape further = h->shape;
    further.R = h->P - h->R;
    ecg_entries_backward(diff->vars, h->diff_quantized + h->R * h->D, h->kept.codes + h->R * h->shape.G, &further);
    ecg_quantizer_backward(h->diff_code_logits, diff->vars, h->quantizer_work, h->diff_quantized,
                           -settings->diversity * (double)h->R / codes, &h->kept, n->vars, settings->temp, &h->shape);
    ECG_TRY(ecg_linear_backward(h->diff_targets, &diff->code, h->diff_code_logits, h->targets, &n->code, &h->code,
                                &h->work));
    ecg_dropout(h->diff_targets, h->diff_targets, &h->features_mask, h->R * h->K);
    return ECG_OK;
}

/* w->x becomes the gradient of the encoder's output. */
static ecg_status heads_backward(heads *h, ecg_trainer *t, ecg_workspace *w, const ecg_pretrain_batch *batch,
                                 const ecg_pretrain_settings *settings)
{
    if (h->R)
        ECG_TRY(contrast_backward(h, t, batch, settings));
    if (batch->ids)
        ecg_pool_backward(w->x, h->diff_pooled, w->x, w->B, w->T, h->C);
    else
        memset(w->x, 0, (size_t)(ecg_rows(w) * h->C) * sizeof *w->x);
    if (h->R)
        ecg_scatter_masked(w->x, h->diff_rows, batch->steps, ecg_rows(w), h->C);
    return ECG_OK;
}

static void give_trace(const heads *h, const ecg_pretrain_batch *batch, const ecg_pretrain_trace *trace)
{
    if (trace->codes && h->R)
        memcpy(trace->codes, h->kept.codes, (size_t)(h->R * h->shape.G) * sizeof *trace->codes);
    int64_t candidates = 1 + batch->negative_count + batch->codebook_count;
    if (trace->logits && h->R)
        memcpy(trace->logits, h->logits, (size_t)(h->R * candidates) * sizeof *trace->logits);
}

ecg_status ecg_pretrain_accumulate(ecg_trainer *t, ecg_pretrain_sums *sums, const ecg_pretrain_batch *batch,
                                   const ecg_pretrain_settings *settings, bool backward,
                                   const ecg_pretrain_trace *trace, ecg_noise *noise, int threads,
                                   ecg_status (*poll)(void *context), void *context)
{
    ecg_status status = ECG_OK;
    ecg_workspace *w;
    heads h = {0};
    int64_t rows = 0;
    if (batch->steps)
        ECG_TRY(count_masked(&rows, batch, ecg_config_tokens(&t->config, batch->N)));
    if (backward)
        ecg_trainer_begin(t);
    ECG_TRY_GOTO(ecg_trainer_plan_for(t, &w, batch->B, batch->N, threads, backward));
    ECG_TRY_GOTO(heads_create(&h, t, batch, rows, backward ? settings->dropout_features : 0));
    h.work.stream = w->work.base.stream;
    ecg_masking masking = {.steps = batch->steps,
                           .channels = batch->channels,
                           .targets = h.targets,
                           .predicted_only = settings->predicted_only};
    ecg_outputs outputs = {.layer = -1, .masking = batch->steps ? &masking : NULL, .poll = poll, .context = context};
    ECG_TRY_GOTO(ecg_forward(&t->parameters, w, batch->src, batch->valid, noise, &outputs));
    ECG_TRY_GOTO(heads_forward(&h, t, w, sums, batch, settings, &masking));
    give_trace(&h, batch, trace);
    if (backward) {
        ECG_TRY_GOTO(heads_backward(&h, t, w, batch, settings));
        masking.diff_targets = h.diff_targets;
        masking.diff_penalty = settings->penalty * (double)h.R;
        ECG_TRY_GOTO(ecg_backward_encoder(&t->gradients, &t->parameters, w, outputs.masking, t->feature_grad_mult, poll,
                                          context));
    }
    heads_free(&h);
    return ECG_OK;
fail:
    t->accumulating = backward ? false : t->accumulating;
    heads_free(&h);
    return status;
}
