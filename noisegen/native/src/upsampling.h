/* Transposed 2x2 convolution with stride 2, channels last: each pixel becomes a square of four. */
#pragma once

#include "gemm.h"

typedef struct {
    int64_t batch, height, width; /* of x */
    int64_t inputs, outputs;      /* channels; outputs a multiple of 32 */
    int64_t lines;                /* worked on at once */
    const float *x;               /* [batch, height, width, inputs] */
    const float *weights;         /* [2, 2, outputs / 32, inputs, 32] */
    const float *bias;            /* [outputs] */
    float *out;                   /* [batch, 2 height, 2 width, outputs] */
    float *scratch;               /* [lines, width, inputs + 16] */
} Upsampling;

/* A panel of the weights for one corner of the squares, `count` lines from `line` on. */
static void upsample_panel(const Upsampling *u, int64_t line, int64_t count, int corner, size_t column) {
    const size_t k = u->inputs, n = u->outputs, gapped = k + 16;
    const float *panel = u->weights + (corner * n + column) * k;
    for (int64_t i = 0; i < count; i++) {
        float *to = u->out + ((2 * (line + i) + corner / 2) * 2 * u->width + corner % 2) * n;
        multiply(u->width, PANEL, k, u->scratch + i * u->width * gapped, gapped, panel, u->bias + column, to + column,
                 2 * n);
    }
}

EXPORT void noisegen_upsample(const Upsampling *u) {
    const size_t k = u->inputs, gapped = k + 16;
    const int64_t all_lines = u->batch * u->height;
    for (int64_t line = 0; line < all_lines; line += u->lines) {
        const int64_t count = all_lines - line < u->lines ? all_lines - line : u->lines;
        /* Pixels a power of two apart would share the same few lines of the cache. */
        for (int64_t x = 0; x < count * u->width; x++)
            memcpy(u->scratch + x * gapped, u->x + (line * u->width + x) * k, k * sizeof(float));
        for (int corner = 0; corner < 4; corner++)
            for (int64_t column = 0; column < u->outputs; column += PANEL)
                upsample_panel(u, line, count, corner, column);
    }
}
