/* One encoder layer: the order of attention, linear layers and norms. Letters as in layers.h. */
#ifndef ECG_LAYERS_TRANSFORMER_H
#define ECG_LAYERS_TRANSFORMER_H

#include "attention.h"

/* The parameters of an encoder layer, or where their gradients are added: qkv (3C, C) stacks query, key and
 * value; out (C, C), fc1 (F, C), fc2 (C, F); norm1 is the original's self_attn_layer_norm, norm2 its
 * final_layer_norm. */
typedef struct {
    ecg_linear qkv, out, fc1, fc2;
    ecg_norm norm1, norm2;
} ecg_transformer_weights;

/* The types of what the products of a layer take: linear layers, and attention (query, key and value). */
typedef struct {
    ecg_dtype linear, attention;
} ecg_transformer_types;

typedef struct {
    ecg_linear_ops qkv, out, fc1, fc2;
    ecg_attention_shape attention;
    size_t attention_scratch;
} ecg_transformer_ops;

typedef struct {
    int64_t B, T, C, H, F;
    bool norm_first;
    ecg_transformer_types types; /* float32 or bfloat16 where there is a backward */
} ecg_transformer_shape;

/* What a layer leaves behind. All layers may share the weights. Without a backward they may share everything,
 * `hidden` may share memory with qkv and context, and the norms are empty. */
typedef struct {
    void *qkv;                  /* (M, 3C), of the attention's type; what the product left where that is uint8 */
    void *context;              /* (M, C): of the linear type, or float32 where that is uint8 */
    void *hidden;               /* (M, F): before GELU; of the linear type, float32 where that is uint8; a backward
                                 * leaves its slope there */
    ecg_norm_kept norm1, norm2; /* (M, C), (M) */
    ecg_dropout_mask attention_mask, activation_mask, out_mask, residual_mask;
} ecg_transformer_kept;

/* Where a layer works. The forward uses branch and activated; the backward all. `activated` may be the kept hidden
 * where there is no backward. */
typedef struct {
    ecg_work base;
    /* Of another type than float32: x, the context and the hidden rows as the linear layers take them. */
    ecg_operand x_rows;       /* (M, C) */
    ecg_operand context_rows; /* (M, C), of uint8 */
    ecg_operand hidden_rows;  /* (M, F) */
    ecg_operand diff_rows;    /* (M, C): of a backward, the gradient as the linear layers take it */
    float *branch;            /* (M, C) */
    float *rows;              /* (M, C) */
    float *activated;         /* (M, F) */
    void *diff_hidden;        /* (M, F), of the linear type */
    void *diff_qkv;           /* (M, 3C), of the attention's type; may share memory with hidden rows and diff_hidden */
    float *diff_context;      /* (M, C); the same */
    bool ends;                /* nobody wants the gradient of x: the backward ends with this layer */
} ecg_transformer_work;

ecg_status ecg_transformer_plan(ecg_transformer_ops *ops, const ecg_transformer_weights *weights,
                                const ecg_transformer_shape *shape, bool backward);
void ecg_transformer_ops_free(ecg_transformer_ops *ops);
void ecg_transformer_sizes(const ecg_transformer_ops *ops, ecg_work_sizes *sizes);

/* For who looks into a layer. */
typedef struct {
    ecg_attention_maps maps;
    /* Called between the two halves of a layer, when work->branch holds the output of the attention before dropout and
     * residual; or NULL. */
    ecg_status (*after_attention)(void *context, const ecg_transformer_work *work);
    void *context;
} ecg_transformer_view;

/* x = one encoder layer of x. In post-norm order work->x_rows holds x before and after, for `next`, the first linear
 * layer of the layer that follows, or NULL. */
ecg_status ecg_transformer_forward(float *x,             /* (M, C), in place */
                                   const int64_t *valid, /* (B) or NULL */
                                   const ecg_transformer_weights *weights, const ecg_linear *next,
                                   ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                   const ecg_transformer_work *work, const ecg_transformer_shape *shape,
                                   const ecg_transformer_view *view);

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
