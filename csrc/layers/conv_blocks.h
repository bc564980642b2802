/* Convolutions over time without groups and padding as products of blocks, for the sake of their rounding: oneDNN sums
 * all terms of an element in one number, here 32 at a time are, and their sums are added. Over 512 terms that leaves a
 * third of the rounding, and takes 0.1 % of the time of a base segment. A row's result does not depend on the batch or
 * the number of threads. */
#ifndef ECG_LAYERS_CONV_BLOCKS_H
#define ECG_LAYERS_CONV_BLOCKS_H

#include "../onednn/ops.h"

/* Whether a convolution runs so. */
bool ecg_is_conv_blocks(const ecg_conv_spec *spec);

/* The weights (O, I, kernel) for that, without layouts of oneDNN; and back, to the bit. */
ecg_status ecg_pack_conv_blocks(ecg_packed *dst, const float *src, const ecg_conv_spec *spec);
void ecg_unpack_conv_blocks(float *dst, const ecg_packed *packed, const ecg_conv_spec *spec);

void ecg_conv_blocks_forward(float *dst,                                   /* (batch, dst_steps, O) */
                             const float *src,                             /* (batch, src_steps, I) */
                             const ecg_packed *weights, const float *bias, /* (O) or NULL */
                             const ecg_conv_spec *spec);

#endif
