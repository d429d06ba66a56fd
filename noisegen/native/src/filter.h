/* A linear filter over a picture whose sides are joined. */
#pragma once

#include "squares.h"

/* Fills what lies beyond a row's ends from its other end. */
static void join_ends(float *row, int64_t lines, int64_t width, int64_t reach, int64_t stride) {
    for (int64_t line = 0; line < lines; line++) {
        float *pixels = row + line * stride + MARGIN;
        for (int64_t x = 0; x < reach; x++) {
            pixels[-1 - x] = pixels[width - 1 - x];
            pixels[width + x] = pixels[x];
        }
    }
}

/* out [channels, height, width] = one layer over squares of the picture, circular; the kernel reaches no further than
 * the squares go. Returns -1 without memory. */
EXPORT int noisegen_filter(const Layer *layer, const Squares *squares, const float *picture, float *out) {
    const int64_t rows = square_rows(squares), width = square_columns(squares), stride = stride_of(width);
    const int side = layer->side, reach = side / 2, ring = side + BAND - 1;
    const int64_t in = layer->in * stride, result = layer->out * stride;
    float *memory = new_floats((ring + side / 3 * POINTS) * in + BAND * result);
    if (!memory) return -1;
    float *transformed = memory + ring * in, *made = transformed + side / 3 * POINTS * in;
    float *band[BAND];
    for (int row = 0; row < BAND; row++) band[row] = made + row * result;
    const float **taken = malloc((size_t)ring * sizeof *taken);
    if (!taken) {
        free(memory);
        return -1;
    }
    int64_t ready = -reach; /* the next row to be taken */
    for (int64_t y = 0; y < rows; y += BAND) {
        for (; ready < y + BAND + reach; ready++) {
            float *row = memory + (ready + reach) % ring * in;
            split_row(squares, picture, NULL, (ready % rows + rows) % rows, NULL, row, stride);
            join_ends(row, layer->in, width, reach, stride);
        }
        for (int row = 0; row < ring; row++) taken[row] = memory + (y + row) % ring * in;
        convolve_band(layer, taken, transformed, width, band);
        for (int row = 0; row < BAND && y + row < rows; row++)
            join_row(squares, band[row], y + row, out, stride, 0);
    }
    free(taken);
    free(memory);
    return 0;
}
