/* NT-Xent, the contrastive loss of SimCLR: which row is another view of this one? */
#ifndef ECG_LOSSES_NTXENT_H
#define ECG_LOSSES_NTXENT_H

#include <stdint.h>

/* With s = cosine / temp between all rows: the mean, over the places (a, b) of two rows with equal ids, of -log softmax
 * of s[a, b] among the s[a, c] of all other rows c; 0 where there is no such place. diff, if not NULL, becomes the
 * gradient times `factor`. `work` holds B * B doubles. `second` is not looked at. */
double ecg_ntxent(float *diff,           /* (B, C) or NULL */
                  double *work,          /* (B, B) */
                  const float *features, /* (B, C) */
                  const int64_t *ids,    /* (B) */
                  const uint8_t *second, /* (B) */
                  double temp, double factor, int64_t B, int64_t C);

#endif
