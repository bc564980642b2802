#include "network.h"

#include <string.h>

#include "../base/memory.h"

ecg_status ecg_network_create(ecg_network *network, const ecg_config *config, const ecg_head_rows *head)
{
    ecg_status status = ECG_OK;
    memset(network, 0, sizeof *network);
    network->precision = ecg_precision_of(ECG_FLOAT32);
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&network->layers, config->layers, sizeof *network->layers));
    if (head)
        ECG_TRY_GOTO(ecg_alloc_zeros(&network->head, 1, head->weights));
    return ECG_OK;
fail:
    ecg_network_free(network);
    return status;
}

void ecg_network_free(ecg_network *network)
{
    ecg_free(network->layers);
    ecg_free(network->head);
    memset(network, 0, sizeof *network);
}

/* Where the pointer of a tensor is. */
static void *place_of(ecg_network *network, const ecg_parameter *p)
{
    char *start = p->flags & ECG_P_LAYER ? (char *)&network->layers[p->layer] : (char *)network;
    return (p->flags & ECG_P_HEAD ? (char *)network->head : start) + p->field;
}

void ecg_network_connect(ecg_network *network, const ecg_parameter *p, float *data)
{
    if (p->part == 0 && !(p->flags & ECG_P_ADAPTER))
        *(float **)place_of(network, p) = data;
}

void ecg_network_connect_packed(ecg_network *network, const ecg_parameter *p, const ecg_packed *packed)
{
    ((ecg_linear *)place_of(network, p))->packed = packed;
}

const ecg_norm *ecg_network_source_norm(const ecg_network *network, const ecg_config *config, const ecg_parameter *p)
{
    const ecg_transformer_weights *layer = &network->layers[p->layer];
    if (p->field == offsetof(ecg_transformer_weights, fc1))
        return config->norm_first ? &layer->norm2 : &layer->norm1;
    if (p->field != offsetof(ecg_transformer_weights, qkv))
        return NULL;
    if (config->norm_first)
        return &layer->norm1;
    return p->layer ? &layer[-1].norm2 : &network->encoder_norm;
}
