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

/* dst = dropout(gelu(src)), both of `type`; dst may be src. */
void ecg_gelu_dropout(void *dst,       /* (n) */
                      const void *src, /* (n) */
                      ecg_dtype type, const ecg_dropout_mask *mask, int64_t n);

/* Both at once, for a backward that computes GELU again: with m = mask (1 where there is none), dst = m gelu(src)
 * and slope = m dgelu/dsrc, which may be src. All are of `type`. */
void ecg_gelu_again(void *dst,       /* (n) */
                    void *slope,     /* (n) */
                    const void *src, /* (n) */
                    ecg_dtype type, const ecg_dropout_mask *mask, int64_t n);

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
                             float *diff_weight,        /* (C) or NULL */
                             float *diff_bias,          /* (C) or NULL */
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
                             float *diff_weight,        /* (C) or NULL */
                             float *diff_bias,          /* (C) or NULL */
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
    /* Where oneDNN makes none of them, but products.c: */
    bool widened, fresh, trains;
    ecg_after after; /* of the backward */
    int threads;
} ecg_linear_ops;

/* (M, K) -> (M, N) with a bias, in float32; and of a type whose result is `dst_type`, or float32 where it is uint8,
 * with int8 weights: then the bias comes after the scales. */
#define ECG_LINEAR(m, k, n) (&(const ecg_linear_spec){.M = (m), .K = (k), .N = (n), .bias = true})
ecg_linear_spec ecg_linear_spec_of(ecg_dtype type, ecg_dtype dst_type, int64_t M, int64_t K, int64_t N);

/* Prepares the forward, and the backward if one runs; `after` says what becomes of diff_src. */
ecg_status ecg_linear_plan(ecg_linear_ops *ops, const ecg_linear *weights, const ecg_linear_spec *spec, bool backward,
                           ecg_after after);
void ecg_linear_free(ecg_linear_ops *ops);

/* dst = `src` (N, K) packed for layers of this spec, float32 or bfloat16; and back, to the bit or as rounded. */
ecg_status ecg_linear_pack(ecg_packed *dst, const float *src, const ecg_linear_spec *spec);
ecg_status ecg_linear_unpack(float *dst, const ecg_packed *packed);

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

/* diff_src, in the type of its spec, is written, or what the ops were planned for. Of diff, what is NULL is not
 * computed. */
ecg_status ecg_linear_backward(void *diff_src,         /* (M, K), or NULL where it is not needed */
                               const ecg_linear *diff, /* (N, K), (N) */
                               const void *diff_dst,   /* (M, N), of the type of the weights' product */
                               const void *src,        /* (M, K), of the type of src */
                               const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work);

/* The same for ops with ECG_MULTIPLY: diff_src is multiplied by `factor`, of its type. */
ecg_status ecg_linear_backward_times(void *diff_src,         /* (M, K) */
                                     const void *factor,     /* (M, K) */
                                     const ecg_linear *diff, /* (N, K), (N) */
                                     const void *diff_dst,   /* (M, N) */
                                     const void *src,        /* (M, K) */
                                     const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work);

/* diff_bias += sum of the rows of diff_dst, float32 or bfloat16; nothing where that is NULL. */
void ecg_bias_backward(float *diff_bias,     /* (N) or NULL */
                       const void *diff_dst, /* (M, N) */
                       ecg_dtype type, int64_t M, int64_t N);

/* ---- rows.c ---- */

/* dst += src. */
void ecg_add_forward(float *dst,       /* (n) */
                     const float *src, /* (n) */
                     int64_t n);

/* The same on one thread; and dst *= src. */
void ecg_add_piece(float *dst, const float *src, int64_t n);
void ecg_multiply_piece(float *dst, const float *src, int64_t n);

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

/* dst = v factors, with factors = g / norm(v), the norm over the first two axes for each tap. */
void ecg_weight_norm_forward(float *dst,     /* (O, S, K) */
                             float *factors, /* (K), or NULL */
                             const float *v, /* (O, S, K) */
                             const float *g, /* (K) */
                             int64_t O, int64_t S, int64_t K);

/* dst = norm(v) for each tap. */
void ecg_tap_norms(float *dst,     /* (K) */
                   const float *v, /* (O, S, K) */
                   int64_t O, int64_t S, int64_t K);

/* What leads from dst of the forward back to v, to the bit. Unless something under- or overflows, v is dst / factors or
 * one of the two float32 numbers beside that: |v factors - dst| is at most half a unit in the last place of dst, which
 * is at most one of v. `steps` gets which, in two bits; false where one is further away. */
#define ECG_STEPS_BYTES(O, S, K) (((O) * (S) + 3) / 4 * (K))
bool ecg_weight_norm_steps(uint8_t *steps,       /* (ECG_STEPS_BYTES) */
                           const float *dst,     /* (O, S, K) */
                           const float *factors, /* (K) */
                           const float *v,       /* (O, S, K) */
                           int64_t O, int64_t S, int64_t K);
void ecg_weight_norm_undo(float *v,             /* (O, S, K); may be dst */
                          const float *dst,     /* (O, S, K) */
                          const float *factors, /* (K) */
                          const uint8_t *steps, /* (ECG_STEPS_BYTES) */
                          int64_t O, int64_t S, int64_t K);

/* diff_v and diff_g get what diff_dst, the gradient of dst, adds to them. */
void ecg_weight_norm_backward(float *diff_v,         /* (O, S, K) or NULL */
                              float *diff_g,         /* (K) or NULL */
                              const float *diff_dst, /* (O, S, K) */
                              const float *v,        /* (O, S, K) */
                              const float *g,        /* (K) */
                              int64_t O, int64_t S, int64_t K);

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

#endif
