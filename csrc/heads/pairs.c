#include "pairs.h"

#include <string.h>

void ecg_pairs_lay_out(ecg_pairs *pairs, ecg_arena *arena, int64_t B, int64_t C)
{
    pairs->pooled = ecg_arena_tensor(arena, ECG_F32, B, C, 1);
    pairs->diff_pooled = ecg_arena_tensor(arena, ECG_F32, B, C, 1);
    pairs->similarity = ecg_arena_take(arena, ecg_elements(B, B, 1), sizeof *pairs->similarity);
}

/* The mean loss over the rows of all ranks; diff_pooled becomes what this rank's rows have of its gradient. The other
 * ranks' rows cost memory only while this runs. */
static ecg_status compare_all(double *loss, ecg_pairs *pairs, ecg_pair_loss function, const ecg_company *all, int64_t B,
                              int64_t C)
{
    int64_t values = ecg_elements(all->rows, C, sizeof(float));
    int64_t squares = ecg_elements(all->rows, all->rows, sizeof(double));
    void *diff = NULL, *work = NULL;
    ecg_status status;
    if (values < 0 || squares < 0)
        return ecg_fail(ECG_NO_MEMORY, "the rows of all ranks do not fit in memory");
    ECG_TRY_GOTO(ecg_alloc(&diff, (size_t)values));
    ECG_TRY_GOTO(ecg_alloc(&work, (size_t)squares));
    *loss = function(diff, work, all->features, all->ids, all->second, pairs->temp, pairs->weight * (double)all->size,
                     all->rows, C);
    memcpy(pairs->diff_pooled, (float *)diff + all->offset * C, (size_t)(B * C) * sizeof(float));
fail:
    ecg_free(diff), ecg_free(work);
    return status;
}

ecg_status ecg_pairs_compare(double *loss, ecg_pairs *pairs, ecg_pair_loss function, const ecg_company *all, int64_t B,
                             int64_t C)
{
    double weight = pairs->weight * (double)pairs->size, mean = 0;
    if (all)
        ECG_TRY(compare_all(&mean, pairs, function, all, B, C));
    else
        mean = function(pairs->diff_pooled, pairs->similarity, pairs->pooled, pairs->ids, pairs->second, pairs->temp,
                        weight, B, C);
    *loss = weight * mean;
    return ECG_OK;
}
