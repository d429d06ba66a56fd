/* From planes of colours to the generator's channels-last layout, and back. */
#pragma once

#include "gemm.h"

/* out [batch, pixels, wide] = planes [batch, channels, pixels], and 0 in the channels beyond. */
EXPORT void noisegen_interleave(
    int64_t batch, int64_t channels, int64_t pixels, int64_t wide, const float *planes, float *out) {
    memset(out, 0, batch * pixels * wide * sizeof *out);
    for (int64_t picture = 0; picture < batch; picture++, planes += channels * pixels, out += pixels * wide)
        for (int64_t x = 0; x < pixels; x++)
            for (int64_t channel = 0; channel < channels; channel++)
                out[x * wide + channel] = planes[channel * pixels + x];
}

typedef struct {
    int64_t batch, rows, columns;      /* of x */
    int64_t inputs, channels;          /* of x, and of out, at most 32 */
    int64_t height, width;             /* of out; what x has beyond is left out */
    const float *x;                    /* [batch, rows, columns, inputs] */
    const float *weights;              /* [inputs, 32] */
    const float *bias;                 /* [32] */
    const float *residual;             /* [batch, channels, height, width] */
    float *out;                        /* likewise: a pointwise convolution of x, plus residual */
    float *scratch;                    /* [width, 32] */
} Projection;

EXPORT void noisegen_project(const Projection *p) {
    for (int64_t line = 0; line < p->batch * p->height; line++) {
        const int64_t picture = line / p->height, y = line % p->height;
        const float *x = p->x + (picture * p->rows + y) * p->columns * p->inputs;
        multiply(p->width, PANEL, p->inputs, x, p->inputs, p->weights, p->bias, p->scratch, PANEL);
        for (int64_t channel = 0; channel < p->channels; channel++) {
            const int64_t at = ((picture * p->channels + channel) * p->height + y) * p->width;
            for (int64_t column = 0; column < p->width; column++)
                p->out[at + column] = p->residual[at + column] + p->scratch[column * PANEL + channel];
        }
    }
}
