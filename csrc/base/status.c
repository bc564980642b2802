#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[400];

ecg_status ecg_fail(ecg_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return status;
}

const char *ecg_message(void)
{
    return message;
}
