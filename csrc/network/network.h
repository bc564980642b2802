/* Where each tensor of a network is: the parameters, or the places where their gradients are added. */
#ifndef ECG_NETWORK_NETWORK_H
#define ECG_NETWORK_NETWORK_H

#include "../layers/transformer.h"
#include "parameters.h"
#include "precision.h"

typedef struct {
    ecg_precision precision;             /* of the encoder's operations */
    ecg_transformer_weights *layers;     /* (layers) */
    ecg_linear convs[ECG_MAX_CONVS];     /* (O, I, kernel); bias NULL without conv_bias */
    ecg_norm conv_norms[ECG_MAX_CONVS];  /* NULL where a block has none */
    ecg_norm feature_norm, encoder_norm; /* layer_norm, encoder.layer_norm */
    ecg_linear post;                     /* post_extract_proj */
    float *pos_v, *pos_g, *pos_bias;     /* (C, C/groups, conv_pos), (conv_pos), (C) */
    const ecg_packed *pos_packed;        /* the weight-normed weights, where they never change */
    void *head;                          /* the head's weights, a struct of its own */
} ecg_network;

/* Allocates the layers and the head's weights, all pointers NULL, in float32; ecg_network_free gives them back. */
ecg_status ecg_network_create(ecg_network *network, const ecg_config *config, const ecg_head_rows *head);
void ecg_network_free(ecg_network *network);

/* Points the place of a parameter at its data; for a group that of the part that lies in front. */
void ecg_network_connect(ecg_network *network, const ecg_parameter *parameter, float *data);

/* The same for a weight that is packed (ECG_P_PACKED): its place is an ecg_linear. */
void ecg_network_connect_packed(ecg_network *network, const ecg_parameter *parameter, const ecg_packed *packed);

/* The norm whose output a linear layer of an encoder layer takes, by the parameter that is its weight, or NULL. */
const ecg_norm *ecg_network_source_norm(const ecg_network *network, const ecg_config *config,
                                        const ecg_parameter *parameter);

#endif
