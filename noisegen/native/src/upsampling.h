/* Transposed 2x2 convolution with stride 2, channels last: each pixel becomes a square of four. */
#pragma once

#include "gemm.h"

typedef struct {
    int64_t batch, height, width; /* of x */
    int64_t inputs, outputs;      /* channels; outputs a multiple of 32 */
    const float *x;               /* [batch, height, width, inputs] */
    const float *weights;         /* [2, 2, outputs / 32, inputs, 32] */
    const float *bias;            /* [outputs] */
    float *out;                   /* [batch, 2 height, 2 width, outputs] */
    float *scratch;               /* [width, inputs + 16] */
} Upsampling;

EXPORT void noisegen_upsample(const Upsampling *u) {
    const size_t k = u->inputs, n = u->outputs, gapped = k + 16;
    for (int64_t line = 0; line < u->batch * u->height; line++) {
        /* Pixels a power of two apart would share the same few lines of the cache. */
        for (int64_t x = 0; x < u->width; x++)
            memcpy(u->scratch + x * gapped, u->x + (line * u->width + x) * k, k * sizeof(float));
        for (int corner = 0; corner < 4; corner++) {
            float *to = u->out + ((2 * line + corner / 2) * 2 * u->width + corner % 2) * n;
            multiply(u->width, n, k, u->scratch, gapped, u->weights + corner * k * n, u->bias, to, 2 * n);
        }
    }
}
