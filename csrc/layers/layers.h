/* The layers of the network on plain pointers. Letters: B segments, L leads, N samples, T tokens,
 * C width, H heads, D = C/H, F feed-forward width, M = B*T rows. Every tensor is float32 where nothing
 * else is said, dense, the last index fastest; time runs before channels: (B, T, C). Functions return
 * nothing where nothing can fail; loops over rows run on all threads, each row on one of them, so the
 * number of threads does not change a bit of what these functions compute. */
#ifndef ECG_LAYERS_LAYERS_H
#define ECG_LAYERS_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/memory.h"
#include "../base/random.h"
#include "../base/status.h"
#include "../onednn/ops.h"
#include "operand.h"

#define ECG_NORM_EPS 1e-5f

/* ---- what the layers share ---- */

/* A linear layer's parameters: packed where they never change (inference), else row-major. The same struct
 * says where their gradients are added. */
typedef struct {
    float *weight;            /* (N, K), NULL where packed */
    float *bias;              /* (N), NULL where there is none */
    const ecg_packed *packed; /* NULL where they change */
} ecg_linear;

typedef struct {
    float *weight, *bias; /* (C) */
} ecg_norm;

/* What the backward of a norm needs of its forward; normalized NULL where there is no backward. */
typedef struct {
    float *normalized; /* as the norm's source: (source - mean) * rstd */
    float *rstd;       /* (M) of a layer norm, (B, C) of a group norm */
} ecg_norm_kept;

/* Memory that operations work in, and the order in which they run. */
typedef struct {
    ecg_stream *stream;
    void *packed;   /* weights that are packed anew on each run */
    void *scratch;  /* oneDNN's scratchpad */
    bool overwrite; /* the gradient of a linear layer's weight takes the place of what is there */
} ecg_work;

/* The largest of what operations need of it. */
typedef struct {
    size_t packed, scratch;
} ecg_work_sizes;

void ecg_enlarge(ecg_work_sizes *sizes, size_t packed, size_t scratch);

/* ---- dropout.c ---- */

/* Which entries are kept (1) or become 0, and what the kept ones are multiplied by; keep NULL where nothing
 * is dropped. */
typedef struct {
    uint8_t *keep;
    float scale; /* 1 / (1 - p) */
    double p;
} ecg_dropout_mask;

/* A mask that drops with probability p, and the room for its a * b * c entries, none where p is 0. */
void ecg_take_mask(ecg_arena *arena, ecg_dropout_mask *mask, double p, int64_t a, int64_t b, int64_t c);

/* dst = src with dropout, nothing where mask->keep is NULL; dst may be src. It is its own backward. */
void ecg_dropout(float *dst,       /* (n) */
                 const float *src, /* (n) */
                 const ecg_dropout_mask *mask, int64_t n);

/* The same on one thread, with a mask. */
void ecg_dropout_piece(float *dst, const float *src, const uint8_t *keep, float scale, int64_t n);

/* Draws the masks of B rows of n entries; row b counts as first_row + b. */
void ecg_dropout_draw(const ecg_dropout_mask *mask, int64_t B, int64_t n, const ecg_stream_key *key, ecg_draw draw,
                      int64_t layer, int64_t first_row);

/* ---- gelu.c ---- */

/* dst = gelu(src) = src * Phi(src), Phi the normal distribution function. dst may be src. */
void ecg_gelu_forward(float *dst,       /* (n) */
                      const float *src, /* (n) */
                      int64_t n);

/* The same on one thread. */
void ecg_gelu_piece(float *dst, const float *src, int64_t n);

/* Both at once, for a backward that computes GELU again: with m = mask (1 where there is none), dst = m gelu(src)
 * and slope = m dgelu/dsrc, which may be src. */
void ecg_gelu_again(float *dst,       /* (n) */
                    float *slope,     /* (n) */
                    const float *src, /* (n) */
                    const ecg_dropout_mask *mask, int64_t n);

/* diff_src = diff_dst * gelu'(src). diff_src may be diff_dst. */
void ecg_gelu_backward(float *diff_src,       /* (n) */
                       const float *diff_dst, /* (n) */
                       const float *src,      /* (n) */
                       int64_t n);

/* ---- norms.c ---- */

/* dst = layer norm over C of (src + residual), residual may be NULL; dst may be either of them. kept may be
 * NULL, or empty, where there is no backward. */
void ecg_layer_norm_forward(float *dst,                /* (M, C) */
                            const ecg_norm_kept *kept, /* (M, C), (M) */
                            const float *src,          /* (M, C) */
                            const float *residual,     /* (M, C) or NULL */
                            const float *weight,       /* (C) */
                            const float *bias,         /* (C) */
                            int64_t M, int64_t C);

/* The same of what a product left, whose result goes to `also` as well, for the next product; also NULL or in float32:
 * to dst alone. */
void ecg_layer_norm_rows(float *dst,                  /* (M, C) */
                         const ecg_operand *also,     /* (M, C) or NULL */
                         const ecg_norm_kept *kept,   /* (M, C), (M) */
                         const ecg_product_rows *src, /* (M, C) */
                         const float *residual,       /* (M, C) or NULL */
                         const ecg_norm *norm, int64_t M, int64_t C);

/* diff_src is that of src and of residual; NULL where it is not needed; it may be diff_dst. */
void ecg_layer_norm_backward(float *diff_src,           /* (M, C) or NULL */
                             float *diff_weight,        /* (C) */
                             float *diff_bias,          /* (C) */
                             const float *diff_dst,     /* (M, C) */
                             const ecg_norm_kept *kept, /* (M, C), (M) */
                             const float *weight,       /* (C) */
                             int64_t M, int64_t C);

/* dst = group norm with as many groups as channels: per segment and channel over the whole time axis.
 * dst may be src. */
void ecg_group_norm_forward(float *dst,                /* (B, T, C) */
                            const ecg_norm_kept *kept, /* (B, T, C), (B, C) */
                            const float *src,          /* (B, T, C) */
                            const float *weight,       /* (C) */
                            const float *bias,         /* (C) */
                            int64_t B, int64_t T, int64_t C);

/* diff_src may be diff_dst. */
void ecg_group_norm_backward(float *diff_src,           /* (B, T, C) */
                             float *diff_weight,        /* (C) */
                             float *diff_bias,          /* (C) */
                             const float *diff_dst,     /* (B, T, C) */
                             const ecg_norm_kept *kept, /* (B, T, C), (B, C) */
                             const float *weight,       /* (C) */
                             int64_t B, int64_t T, int64_t C);

/* dst = normalized * weight + bias: what the forward of either norm gave, from what was kept of it. */
void ecg_norm_restore(float *dst,              /* (M, C) */
                      const float *normalized, /* (M, C) */
                      const float *weight,     /* (C) */
                      const float *bias,       /* (C) */
                      int64_t M, int64_t C);

/* ---- linear.c ---- */

/* A linear layer and its backward; a zeroed struct is empty and may be freed. */
typedef struct {
    ecg_linear_spec spec;
    ecg_fresh_op forward, backward;
    ecg_op gradient, first; /* added to what is there, or in its place */
} ecg_linear_ops;

/* (M, K) -> (M, N) with a bias, in float32; and of a type whose result is `dst_type`, or float32 where it is uint8,
 * with int8 weights: then the bias comes after the scales. */
#define ECG_LINEAR(m, k, n) (&(const ecg_linear_spec){.M = (m), .K = (k), .N = (n), .bias = true})
ecg_linear_spec ecg_linear_spec_of(ecg_dtype type, ecg_dtype dst_type, int64_t M, int64_t K, int64_t N);

/* Prepares the forward, and the backward if one runs; `after` says what becomes of diff_src. */
ecg_status ecg_linear_plan(ecg_linear_ops *ops, const ecg_linear *weights, const ecg_linear_spec *spec, bool backward,
                           ecg_after after);
void ecg_linear_free(ecg_linear_ops *ops);

/* Enlarges `sizes` to what these ops need. */
void ecg_linear_sizes(const ecg_linear_ops *ops, ecg_work_sizes *sizes);

/* dst = src weight^T + bias, in the types of the ops; with uint8 the numbers before scale, shift and bias. */
ecg_status ecg_linear_forward(void *dst,       /* (M, N) */
                              const void *src, /* (M, K) */
                              const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work);

/* dst = src weight^T + bias, or its GELU, in the type of dst. What the product leaves goes to `raw` where it is not yet
 * that; raw may be dst's data where both are float32. */
ecg_status ecg_linear_rows(const ecg_operand *dst, /* (M, N) */
                           const ecg_operand *src, /* (M, K) */
                           float *raw,             /* (M, N), or NULL where the product gives what dst takes */
                           bool gelu, const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work);

/* What ecg_linear_forward left in `raw` of this src. */
ecg_product_rows ecg_product_of(float *raw, const ecg_operand *src, const ecg_linear *weights);

/* diff_src is written, or what the ops were planned for. */
ecg_status ecg_linear_backward(float *diff_src,        /* (M, K), or NULL where it is not needed */
                               const ecg_linear *diff, /* (N, K), (N) */
                               const float *diff_dst,  /* (M, N) */
                               const float *src,       /* (M, K) */
                               const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work);

/* The same for ops with ECG_MULTIPLY: diff_src is multiplied by `factor`. */
ecg_status ecg_linear_backward_times(float *diff_src,        /* (M, K) */
                                     const float *factor,    /* (M, K) */
                                     const ecg_linear *diff, /* (N, K), (N) */
                                     const float *diff_dst,  /* (M, N) */
                                     const float *src,       /* (M, K) */
                                     const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work);

/* diff_bias += sum of the rows of diff_dst. */
void ecg_bias_backward(float *diff_bias,      /* (N) */
                       const float *diff_dst, /* (M, N) */
                       int64_t M, int64_t N);

/* ---- rows.c ---- */

/* dst += src. */
void ecg_add_forward(float *dst,       /* (n) */
                     const float *src, /* (n) */
                     int64_t n);

/* The same on one thread. */
void ecg_add_piece(float *dst, const float *src, int64_t n);

/* dst *= factor. */
void ecg_scale(float *dst, /* (n) */
               float factor, int64_t n);

/* The sum of squares of n numbers. */
double ecg_square_sum(const float *src, /* (n) */
                      int64_t n);

/* Rows t >= valid[b] of each segment become 0; nothing where valid is NULL. */
void ecg_zero_padding(float *dst,           /* (B, T, C) */
                      const int64_t *valid, /* (B) or NULL */
                      int64_t B, int64_t T, int64_t C);

/* dst (B, columns, rows) = src (B, rows, columns) with the last two axes exchanged. */
void ecg_transpose(float *dst, const float *src, int64_t B, int64_t rows, int64_t columns);

/* The index of the first entry of src that is NaN or infinite, or -1. */
int64_t ecg_first_not_finite(const float *src, /* (n) */
                             int64_t n);

/* ---- conv_pos.c ---- */

/* dst = g * v / norm(v), the norm over the first two axes for each tap. */
void ecg_weight_norm_forward(float *dst,     /* (O, S, K) */
                             const float *v, /* (O, S, K) */
                             const float *g, /* (K) */
                             int64_t O, int64_t S, int64_t K);

/* diff_v and diff_g get what diff_dst, the gradient of dst, adds to them. */
void ecg_weight_norm_backward(float *diff_v,         /* (O, S, K) */
                              float *diff_g,         /* (K) */
                              const float *diff_dst, /* (O, S, K) */
                              const float *v,        /* (O, S, K) */
                              const float *g,        /* (K) */
                              int64_t O, int64_t S, int64_t K);

/* ---- attention.c ---- */

/* In place: each row of scores becomes softmax(scale * row) over its first valid[b] entries (all T where
 * valid is NULL), the others 0. Of the type bfloat16 the result takes the front half of the row. */
void ecg_softmax_forward(float *scores,        /* (B, H, T, T) */
                         const int64_t *valid, /* (B) or NULL, each in 1..T */
                         ecg_dtype type, float scale, int64_t B, int64_t H, int64_t T);

/* dst[b] = mean over heads of weights[b]; the maps of segment b lie `stride` floats apart in dst. The weights are as
 * ecg_attention_forward leaves them for the type. */
void ecg_head_mean_forward(float *dst,           /* (B) maps (T, T), `stride` apart */
                           const float *weights, /* (B, H, T, T) */
                           ecg_dtype type, int64_t stride, int64_t B, int64_t H, int64_t T);

/* In place: diff of the weights becomes diff of the scores before scaling, weights * (diff - sum(diff *
 * weights)) * scale, the sum over a row. */
void ecg_softmax_backward(float *diff,          /* (B, H, T, T) */
                          const float *weights, /* (B, H, T, T) */
                          float scale, int64_t B, int64_t H, int64_t T);

/* The batched products of attention on the fused rows of query, key and value; the last four are those of the
 * backward, empty where there is none. */
typedef struct {
    int64_t B, H, T, D; /* of one product; `repeats` of them make the batch */
    int64_t repeats;
    int64_t stride; /* from the maps of one product to those of the next: 0 with a backward, which makes them again */
    ecg_dtype type, dst; /* of query, key, value and the weights, scores being float32; of the context */
    ecg_op scores;       /* (B, H, T, T) = query key^T */
    ecg_op context;      /* (B, T, H*D)  = weights value */
    ecg_op diff_weights; /* (B, H, T, T) = diff_context value^T */
    ecg_op diff_value, diff_query, diff_key; /* into (B, T, 3*H*D) */
} ecg_attention_ops;

/* `type` is that of the source, `dst` that of the context; both float32 with a backward. */
ecg_status ecg_attention_plan(ecg_attention_ops *ops, int64_t segments, int64_t H, int64_t T, int64_t D, ecg_dtype type,
                              ecg_dtype dst, bool backward);
void ecg_attention_free(ecg_attention_ops *ops);
void ecg_attention_sizes(const ecg_attention_ops *ops, ecg_work_sizes *sizes);

/* context = dropout(softmax(query key^T / sqrt(D))) value, for each head. `weights` gets the attention weights
 * before the dropout, `dropped` those after it (not used where mask->keep is NULL). They are of the whole batch where
 * `whole`; else all products work in the maps of one, which then stay in the cache, as they do with a backward. The
 * weights of another type than float32 lie in the front half of the row of their scores. */
ecg_status ecg_attention_forward(void *context,        /* (B, T, H*D) */
                                 float *weights,       /* (B or ops->B, H, T, T) */
                                 float *dropped,       /* the same */
                                 bool whole,           /* not with a backward */
                                 const void *qkv,      /* (B, T, 3*H*D): query, key, value side by side */
                                 const int64_t *valid, /* (B) or NULL */
                                 const ecg_dropout_mask *mask, ecg_attention_ops *ops, const ecg_work *work);

/* The weights are computed again: keeping them would take a fifth of a layer's memory, and the time to write and
 * read them. */
ecg_status ecg_attention_backward(float *diff_qkv,           /* (B, T, 3*H*D) */
                                  float *weights,            /* (ops->B, H, T, T): to work in */
                                  float *dropped,            /* the same */
                                  float *diff_weights,       /* the same */
                                  const float *diff_context, /* (B, T, H*D) */
                                  const float *qkv,          /* (B, T, 3*H*D) */
                                  const int64_t *valid,      /* (B) or NULL */
                                  const ecg_dropout_mask *mask, ecg_attention_ops *ops, const ecg_work *work);

/* ---- pooling.c ---- */

/* dst[b, c] = sum over time of src / number of entries that are not 0; NaN where all are 0, as in the
 * original. */
void ecg_pool_forward(float *dst,       /* (B, C) */
                      const float *src, /* (B, T, C) */
                      int64_t B, int64_t T, int64_t C);

/* diff_src = diff_dst / number of entries of src that are not 0, at every step: the number is a constant. */
void ecg_pool_backward(float *diff_src,       /* (B, T, C) */
                       const float *diff_dst, /* (B, C) */
                       const float *src,      /* (B, T, C) */
                       int64_t B, int64_t T, int64_t C);

/* ---- quantizer.c ---- */

typedef struct {
    int64_t R, G, V, D; /* rows, groups, entries of a group, width of a quantized row */
} ecg_quantizer_shape;

typedef struct {
    int32_t *codes;                          /* (R, G): the chosen entries */
    float *soft;                             /* (R, G, V): softmax((logits + noise) / temp), not used without noise */
    float *clean;                            /* (R, G, V): softmax(logits) */
    double *mean;                            /* (G, V): of clean over the rows */
    double *hard;                            /* (G, V): share of the rows whose largest logit it is */
    double prob_perplexity, code_perplexity; /* summed over groups: of mean, of hard */
} ecg_quantizer_kept;

/* dst = the entry with the largest logit + noise of each group, side by side. noise NULL: none. */
void ecg_quantizer_forward(float *dst,                                    /* (R, D) */
                           ecg_quantizer_kept *kept, const float *logits, /* (R, G, V) */
                           const float *noise,                            /* (R, G, V) or NULL */
                           const float *vars,                             /* (G, V, D/G) */
                           double temp, const ecg_quantizer_shape *shape);

/* dst = the entries of these codes; and back: diff_vars += diff_dst at those entries. */
void ecg_entries_forward(float *dst,           /* (R, D) */
                         const int32_t *codes, /* (R, G) */
                         const float *vars,    /* (G, V, D/G) */
                         const ecg_quantizer_shape *shape);
void ecg_entries_backward(float *diff_vars,      /* (G, V, D/G), added */
                          const float *diff_dst, /* (R, D) */
                          const int32_t *codes,  /* (R, G) */
                          const ecg_quantizer_shape *shape);

/* Straight-through: the gradient of the logits as if dst were soft vars; that of the prob_perplexity, times
 * diff_perplexity, comes on top. */
void ecg_quantizer_backward(float *diff_logits,    /* (R, G, V) */
                            float *diff_vars,      /* (G, V, D/G), added */
                            float *work,           /* (R + 1, G, V) */
                            const float *diff_dst, /* (R, D) */
                            double diff_perplexity, const ecg_quantizer_kept *kept, const float *vars, /* (G, V, D/G) */
                            double temp, const ecg_quantizer_shape *shape);

/* dst = a * logistic(b) of src = [a | b]. */
void ecg_glu_forward(float *dst,       /* (R, D) */
                     const float *src, /* (R, 2D) */
                     int64_t R, int64_t D);
void ecg_glu_backward(float *diff_src,       /* (R, 2D) */
                      const float *diff_dst, /* (R, D) */
                      const float *src,      /* (R, 2D) */
                      int64_t R, int64_t D);

/* ---- transformer.c ---- */

/* The parameters of an encoder layer, or where their gradients are added: qkv (3C, C) stacks query, key and
 * value; out (C, C), fc1 (F, C), fc2 (C, F); norm1 is the original's self_attn_layer_norm, norm2 its
 * final_layer_norm. */
typedef struct {
    ecg_linear qkv, out, fc1, fc2;
    ecg_norm norm1, norm2;
} ecg_transformer_weights;

/* The types of the products of a layer: of what linear layers take, and of query, key, value and attention weights. */
typedef struct {
    ecg_dtype linear, attention;
} ecg_transformer_types;

typedef struct {
    ecg_linear_ops qkv, out, fc1, fc2;
    ecg_attention_ops attention;
} ecg_transformer_ops;

typedef struct {
    int64_t B, T, C, H, F;
    bool norm_first;
    ecg_transformer_types types; /* float32 where there is a backward */
} ecg_transformer_shape;

/* What a layer leaves behind. All layers may share the weights. Without a backward they may share everything,
 * `hidden` may share memory with qkv, context and weights, and the norms are empty. */
typedef struct {
    void *qkv;                  /* (M, 3C), of the attention's type */
    void *context;              /* (M, C): of the linear type, or float32 where that is uint8 */
    float *weights;             /* of ecg_attention_forward */
    float *hidden;              /* (M, F): before GELU; a backward leaves its slope there */
    ecg_norm_kept norm1, norm2; /* (M, C), (M) */
    ecg_dropout_mask attention_mask, activation_mask, out_mask, residual_mask;
} ecg_transformer_kept;

/* Where a layer works. The forward uses branch, activated and dropped; the backward all. `activated` and
 * `dropped` may be the kept hidden and weights where there is no backward. */
typedef struct {
    ecg_work base;
    /* Of another type than float32: x, the context and the hidden rows as the linear layers take them; and what the
     * product of query, key and value leaves where that is uint8. */
    ecg_operand x_rows;       /* (M, C) */
    ecg_operand context_rows; /* (M, C), of uint8 */
    ecg_operand hidden_rows;  /* (M, F) */
    float *raw;               /* (M, 3C), of uint8 */
    float *branch;            /* (M, C) */
    float *rows;              /* (M, C) */
    float *activated;         /* (M, F) */
    float *dropped;           /* of ecg_attention_forward */
    float *diff_hidden;       /* (M, F) */
    float *diff_qkv;          /* (M, 3C); may share memory with activated and diff_hidden */
    float *diff_context;      /* (M, C); the same */
    float *diff_weights;      /* of ecg_attention_backward; the same */
} ecg_transformer_work;

ecg_status ecg_transformer_plan(ecg_transformer_ops *ops, const ecg_transformer_weights *weights,
                                const ecg_transformer_shape *shape, bool backward);
void ecg_transformer_ops_free(ecg_transformer_ops *ops);
void ecg_transformer_sizes(const ecg_transformer_ops *ops, ecg_work_sizes *sizes);

/* x = one encoder layer of x. In post-norm order work->x_rows holds x before and after, for `next`, the first linear
 * layer of the layer that follows, or NULL. `after_attention`, if not NULL, is called between the two halves, when
 * work->branch holds the output of the attention before dropout and residual and kept->weights the attention weights.
 */
typedef ecg_status (*ecg_after_attention)(void *context, const ecg_transformer_work *work,
                                          const ecg_transformer_kept *kept);

ecg_status ecg_transformer_forward(float *x,             /* (M, C), in place */
                                   const int64_t *valid, /* (B) or NULL */
                                   const ecg_transformer_weights *weights, const ecg_linear *next,
                                   ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                   const ecg_transformer_work *work, const ecg_transformer_shape *shape,
                                   ecg_after_attention after_attention, void *context);

/* `rows` for a linear layer. */
ecg_operand ecg_operand_for(const ecg_linear *weights, const ecg_operand *rows);

/* diff = the gradient of x before the layer from that of x after it; the gradients of the parameters are added. */
ecg_status ecg_transformer_backward(float *diff,          /* (M, C), in place */
                                    const float *src,     /* (M, C): x before the layer; post-norm order only */
                                    const int64_t *valid, /* (B) or NULL */
                                    const ecg_transformer_weights *diff_weights, const ecg_transformer_weights *weights,
                                    ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                    const ecg_transformer_work *work, const ecg_transformer_shape *shape);

#endif
