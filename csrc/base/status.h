/* Status codes. A C function that can fail returns an ecg_status; the message that goes with a
 * failure (what, where, the sizes) is kept for the calling thread until its next failure. */
#ifndef ECG_BASE_STATUS_H
#define ECG_BASE_STATUS_H

typedef enum {
    ECG_OK = 0,
    ECG_NO_MEMORY,    /* an allocation failed */
    ECG_BAD_ARGUMENT, /* sizes or values that the caller could have checked */
    ECG_BAD_CONFIG,   /* a configuration key out of range or inconsistent */
    ECG_BAD_SIGNAL,   /* a NaN, an infinity, a row without a valid token */
    ECG_BAD_STATE,    /* a call out of order, such as a forward before all weights are set */
    ECG_INTERRUPTED,  /* the caller's poll function asked to stop */
    ECG_ONEDNN        /* oneDNN refused: an internal error unless memory ran out */
} ecg_status;

/* Keeps the formatted message for this thread (cut at 400 bytes) and returns `status`. */
ecg_status ecg_fail(ecg_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The message of this thread's last failure; an empty string if there was none. */
const char *ecg_message(void);

/* Returns from the enclosing function on failure: for functions that own nothing yet. */
#define ECG_TRY(call)                    \
    do {                                 \
        ecg_status try_status_ = (call); \
        if (try_status_ != ECG_OK)       \
            return try_status_;          \
    } while (0)

/* Jumps to `fail:` on failure, with the code in a local variable `status`. */
#define ECG_TRY_GOTO(call)    \
    do {                      \
        status = (call);      \
        if (status != ECG_OK) \
            goto fail;        \
    } while (0)

#endif
