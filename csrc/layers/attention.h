/* Attention: softmax(query key^T / sqrt(D)) value, a head and a block of its queries at a time, so that scores never
 * leave the cache. Letters as in layers.h. All arithmetic is float32, whatever the types of source and result; each row
 * of a result is computed alone, so that it depends neither on the number of threads nor on the rest of the batch. */
#ifndef ECG_LAYERS_ATTENTION_H
#define ECG_LAYERS_ATTENTION_H

#include "layers.h"

typedef struct {
    int64_t B, H, T, D;
    ecg_dtype type, dst; /* of query, key and value, and of their gradient; of the context */
    bool scaled;         /* query, key and value are float32 as a product of uint8 left them, with scales */
    int threads;         /* at most so many work on it */
} ecg_attention_shape;

/* The bytes that either direction works in; -1 on overflow. */
int64_t ecg_attention_scratch(const ecg_attention_shape *shape, bool backward);

/* The attention weights averaged over the heads, for whoever asks for them. */
typedef struct {
    float *mean;    /* (B) maps (T, T), or NULL */
    int64_t stride; /* floats from one segment's map to the next */
} ecg_attention_maps;

/* Of each head: context = dropout(softmax over the first valid[b] keys (query key^T / sqrt(D))) value. Entries of maps
 * beyond valid[b] are 0. */
void ecg_attention_forward(void *context,                  /* (B, T, H*D) */
                           const ecg_attention_maps *maps, /* before the dropout */
                           const ecg_product_rows *qkv,    /* (B, T, 3*H*D): query, key, value side by side */
                           const int64_t *valid,           /* (B) or NULL, each in 1..T */
                           const ecg_dropout_mask *mask,   /* (B, H, T, T) */
                           const ecg_attention_shape *shape, void *scratch);

/* The weights are computed again: keeping them would take a fifth of a layer's memory, and the time to write and
 * read them. */
void ecg_attention_backward(void *diff_qkv,               /* (B, T, 3*H*D) */
                            const float *diff_context,    /* (B, T, H*D) */
                            const void *qkv,              /* (B, T, 3*H*D) */
                            const int64_t *valid,         /* (B) or NULL */
                            const ecg_dropout_mask *mask, /* (B, H, T, T) */
                            const ecg_attention_shape *shape, void *scratch);

#endif
