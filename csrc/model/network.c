#include "network.h"

#include <string.h>

#include "../base/memory.h"

ecg_status ecg_network_create(ecg_network *network, const ecg_config *config)
{
    size_t bytes = (size_t)config->layers * sizeof *network->layers;
    memset(network, 0, sizeof *network);
    ECG_TRY(ecg_alloc((void **)&network->layers, bytes));
    memset(network->layers, 0, bytes);
    return ECG_OK;
}

void ecg_network_free(ecg_network *network)
{
    ecg_free(network->layers);
    memset(network, 0, sizeof *network);
}

/* The field of a parameter; NULL for key and value. */
static float **field(ecg_network *n, const ecg_parameter *p)
{
    ecg_transformer_weights *layer = &n->layers[p->role < ECG_ENCODER_NORM_WEIGHT ? p->layer : 0];
    switch (p->role) {
    /* clang-format off */
    case ECG_QUERY_WEIGHT: return &layer->qkv.weight;
    case ECG_QUERY_BIAS: return &layer->qkv.bias;
    case ECG_OUT_WEIGHT: return &layer->out.weight;
    case ECG_OUT_BIAS: return &layer->out.bias;
    case ECG_NORM1_WEIGHT: return &layer->norm1.weight;
    case ECG_NORM1_BIAS: return &layer->norm1.bias;
    case ECG_FC1_WEIGHT: return &layer->fc1.weight;
    case ECG_FC1_BIAS: return &layer->fc1.bias;
    case ECG_FC2_WEIGHT: return &layer->fc2.weight;
    case ECG_FC2_BIAS: return &layer->fc2.bias;
    case ECG_NORM2_WEIGHT: return &layer->norm2.weight;
    case ECG_NORM2_BIAS: return &layer->norm2.bias;
    case ECG_ENCODER_NORM_WEIGHT: return &n->encoder_norm.weight;
    case ECG_ENCODER_NORM_BIAS: return &n->encoder_norm.bias;
    case ECG_CONV_WEIGHT: return &n->convs[p->layer].weight;
    case ECG_CONV_BIAS: return &n->convs[p->layer].bias;
    case ECG_CONV_NORM_WEIGHT: return &n->conv_norms[p->layer].weight;
    case ECG_CONV_NORM_BIAS: return &n->conv_norms[p->layer].bias;
    case ECG_POST_WEIGHT: return &n->post.weight;
    case ECG_POST_BIAS: return &n->post.bias;
    case ECG_POS_BIAS: return &n->pos_bias;
    case ECG_POS_G: return &n->pos_g;
    case ECG_POS_V: return &n->pos_v;
    case ECG_FEATURE_NORM_WEIGHT: return &n->feature_norm.weight;
    case ECG_FEATURE_NORM_BIAS: return &n->feature_norm.bias;
    case ECG_PROJ_WEIGHT: return &n->proj.weight;
    case ECG_PROJ_BIAS: return &n->proj.bias;
    case ECG_MASK_EMB: return &n->mask_emb;
    case ECG_VARS: return &n->vars;
    case ECG_CODE_WEIGHT: return &n->code.weight;
    case ECG_CODE_BIAS: return &n->code.bias;
    case ECG_PROJECT_Q_WEIGHT: return &n->project_q.weight;
    case ECG_PROJECT_Q_BIAS: return &n->project_q.bias;
    case ECG_GLU_WEIGHT: return &n->glu.weight;
    case ECG_GLU_BIAS: return &n->glu.bias;
    case ECG_FINAL_PROJ_WEIGHT: return &n->final.weight;
    case ECG_FINAL_PROJ_BIAS: return &n->final.bias;
    default: return NULL;
        /* clang-format on */
    }
}

void ecg_network_connect(ecg_network *network, const ecg_parameter *parameter, float *data)
{
    float **pointer = field(network, parameter);
    if (pointer)
        *pointer = data;
}
