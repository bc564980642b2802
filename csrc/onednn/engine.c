/* oneDNN's engine, its streams, and the making of primitives with little memory. */
#include "internal.h"

#include <pthread.h>
#include <stdio.h>

#include "../base/memory.h"
#include "../base/threads.h"

/* What oneDNN may need to make one primitive, code included (at most 3 MB was seen), with room for what its
 * threads ask the heap for. It ends the process where its own allocations fail. */
#define ROOM ((size_t)16 << 20)

dnnl_engine_t engine;
static dnnl_status_t engine_status;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void create_engine(void)
{
    engine_status = dnnl_engine_create(&engine, dnnl_cpu, 0);
}

ecg_status onednn_fail(dnnl_status_t status, const char *call)
{
    if (status == dnnl_out_of_memory)
        return ecg_fail(ECG_NO_MEMORY, "oneDNN could not allocate memory in %s", call);
    return ecg_fail(ECG_ONEDNN, "oneDNN refused %s with status %d", call, (int)status);
}

ecg_status get_engine(void)
{
    ECG_TRY(ecg_expect_memory(ROOM));
    pthread_once(&engine_once, create_engine);
    return engine_status == dnnl_success ? ECG_OK : onednn_fail(engine_status, "dnnl_engine_create");
}

typedef struct {
    dnnl_primitive_t primitive;
    const_dnnl_primitive_desc_t desc;
    dnnl_status_t status;
    int threads; /* of the thread that asks */
} creation;

static void *create_on_thread(void *argument)
{
    creation *c = argument;
    ecg_threads_use(c->threads);
    c->status = dnnl_primitive_create(&c->primitive, c->desc);
    return NULL;
}

/* Once memory ran out while oneDNN wrote code on a thread, everything that it makes there fails: it keeps that error
 * for the thread and never forgets it. Then another thread makes what this one can't. */
ecg_status create_primitive(dnnl_primitive_t *dst, const_dnnl_primitive_desc_t desc)
{
    static _Thread_local bool failed;
    creation c = {NULL, desc, dnnl_success, ecg_threads()};
    pthread_t thread;
    *dst = NULL;
    ECG_TRY(ecg_expect_memory(ROOM));
    if (!failed)
        c.status = dnnl_primitive_create(&c.primitive, desc);
    else if (pthread_create(&thread, NULL, create_on_thread, &c) == 0)
        pthread_join(thread, NULL);
    else
        c.status = dnnl_out_of_memory;
    failed = failed || c.status == dnnl_out_of_memory;
    if (c.status != dnnl_success)
        return onednn_fail(c.status, "dnnl_primitive_create");
    *dst = c.primitive;
    return ECG_OK;
}

ecg_status ecg_stream_create(ecg_stream **dst)
{
    ecg_status status = ECG_OK;
    ecg_stream *stream = NULL;
    *dst = NULL;
    ECG_TRY(get_engine());
    ECG_TRY(ecg_alloc((void **)&stream, sizeof *stream));
    DNNL(dnnl_stream_create(&stream->handle, engine, dnnl_stream_default_flags));
    *dst = stream;
    return ECG_OK;
fail:
    ecg_free(stream);
    return status;
}

void ecg_stream_destroy(ecg_stream *stream)
{
    if (!stream)
        return;
    dnnl_stream_destroy(stream->handle);
    ecg_free(stream);
}

void ecg_onednn_version(char *dst, size_t size)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(dst, size, "%d.%d.%d", version->major, version->minor, version->patch);
}

const char *ecg_onednn_isa(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
        return "sse4.1";
    case dnnl_cpu_isa_avx:
        return "avx";
    case dnnl_cpu_isa_avx2:
        return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
        return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
        return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
        return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
        return "avx512_core_bf16";
    default:
        return "newer than avx512_core_bf16";
    }
}
