/* Splits a range of rows or elements over the threads. */
#ifndef ECG_LAYERS_PARALLEL_H
#define ECG_LAYERS_PARALLEL_H

#include <stdint.h>

/* Below this many elements a loop is not worth waking the other threads. */
#define ECG_SERIAL_ELEMENTS 16384

/* The elements of one piece of work: large enough to amortise the call, small enough to stay in cache. */
#define ECG_PIECE 4096

/* Columns of a (rows, columns) array that one piece of a sum over the rows takes: two cache lines a row. */
#define ECG_COLUMNS 32

#endif
