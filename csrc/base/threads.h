/* How many threads a call uses, and staying alive after fork(). */
#ifndef ECG_BASE_THREADS_H
#define ECG_BASE_THREADS_H

#include <stdbool.h>

#include "status.h"

/* Sets the number of threads of all later calls; n < 1 counts as 1. */
void ecg_set_threads(int n);

/* Whether n threads can run here at once: each is started and ended, unless this thread has had so many before. */
ecg_status ecg_threads_prove(int n);

/* The number of threads that a call started now would use. In a child of fork() it is 1: libgomp's
 * worker threads are gone there and a parallel region of more than one thread would wait for ever. */
int ecg_threads(void);

/* Called at the start of each computation, on the thread that computes: makes OpenMP (ours and oneDNN's) use
 * ecg_threads() threads there; *n, if it is not NULL, becomes that number. Fails where so many can't be started, since
 * libgomp would end the process. */
ecg_status ecg_threads_begin(int *n);

/* Makes OpenMP use n threads here, without the proof: for a thread that makes something for one that computes. */
void ecg_threads_use(int n);

/* Whether this thread computes a part of a call on its own, beside others that do the same: ecg_threads() is 1 then. It
 * is called within the parallel region, at the begin and at the end of the part. */
void ecg_threads_alone(bool on);

/* The processors that this process may run on, at least 1. */
int ecg_processors(void);

#endif
