/* Batches of matrix products. */
#include "internal.h"

ecg_status ecg_op_matmul(ecg_op *op, const ecg_matmul_spec *s)
{
    ecg_status status = ECG_OK;
    op_parts p = {0};
    ECG_TRY_GOTO(begin_parts(&p));
    ECG_TRY_GOTO(make_strided(&p.src, &s->src, 4, DIMS(s->B, s->H, s->M, s->K)));
    ECG_TRY_GOTO(make_strided(&p.weights, &s->weights, 4, DIMS(s->B, s->H, s->K, s->N)));
    ECG_TRY_GOTO(make_strided(&p.dst, &s->dst, 4, DIMS(s->B, s->H, s->M, s->N)));
    DNNL(dnnl_matmul_primitive_desc_create(&p.forward, engine, p.src, p.weights, NULL, p.dst, p.attributes));
    ECG_TRY_GOTO(finish_forward(op, p.forward, OP_NONE));
fail:
    free_parts(&p);
    return status;
}
