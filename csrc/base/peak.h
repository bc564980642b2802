/* The measured peak of the processor, by type: what a share of the peak is a share of. */
#ifndef ECG_BASE_PEAK_H
#define ECG_BASE_PEAK_H

#include "dtype.h"
#include "status.h"

/* *peak: operations per second (a multiply and an add are two) of independent products of this type, summed in float32
 * (int8: in int32), on `threads` threads; the best of several tries within about `seconds`, at least one. float32 by
 * fused multiply-adds, bfloat16 by vdpbf16ps, int8 by vpdpbusd; the widest registers that the processor has are used.
 * Tile instructions (AMX) are not measured. One thread is used where ecg_threads() is 1.
 * Fails where the processor lacks the instruction, and where so many threads can't be started. */
ecg_status ecg_measure_peak(double *peak, int threads, double seconds, ecg_dtype type);

#endif
