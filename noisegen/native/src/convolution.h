/* Convolutions of rows of few channels: pixels of a row in the lanes, one weight for all of them.
 *
 * A row of a picture is `channels` lines of `stride` floats and MARGIN floats at the end; pixels begin MARGIN floats into
 * each line, and a line's margin is also what lies beyond the end of the line before. Rows are made four at a time. The
 * rows of a kernel are cut into threes and what remains into ones: threes are done by Winograd's F(4, 3) down the
 * picture, with 6 products where 12 would be needed; along a row all taps are multiplied. Each output is a sum in one
 * order, so it depends neither on the width of vectors nor on its place in a block. */
#pragma once

#include "arena.h"

#define MARGIN 16 /* no kernel reaches further than half of this beyond a line's ends */
#define BAND 4    /* rows made at once */
#define POINTS 6  /* rows that F(4, 3) takes */
#define GROUP 6   /* outputs summed at once */
#if LANES == 8
#define SPAN 2 /* vectors of pixels summed at once: with GROUP as many as fit into the registers */
#else
#define SPAN 4
#endif

typedef struct {
    int32_t in, out, side; /* channels, the ones out a multiple of GROUP; side of the kernel, odd */
    float slope;           /* of the activation below 0: 0 for ReLU, 1 for none */
    const float *weights;  /* [out / GROUP][side / 3 * POINTS + side % 3][in][side][GROUP] */
    const float *bias;     /* [out] */
} Layer;

INLINE int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

INLINE int64_t stride_of(int64_t width) { return MARGIN + round_up(width, MARGIN); }

INLINE int64_t row_floats(int64_t channels, int64_t width) { return channels * stride_of(width) + MARGIN; }

/* Adds one row's share to GROUP outputs of `span` vectors; `row` points to the first pixel of the first channel. */
INLINE void add_row(vf sum[GROUP][SPAN], const float *row, int64_t stride, int in, int side, const float *weights,
                    int span) {
    for (int channel = 0; channel < in; channel++) {
        const float *line = row + channel * stride - side / 2;
#pragma GCC unroll 8
        for (int tap = 0; tap < side; tap++) {
            vf pixels[SPAN];
#pragma GCC unroll 4
            for (int v = 0; v < span; v++) pixels[v] = load(line + tap + v * LANES);
#pragma GCC unroll 6
            for (int o = 0; o < GROUP; o++) {
                vf weight = all(weights[o]);
#pragma GCC unroll 4
                for (int v = 0; v < span; v++) sum[o][v] = fma_(weight, pixels[v], sum[o][v]);
            }
            weights += GROUP;
        }
    }
}

/* POINTS rows of `floats` each to the POINTS rows that F(4, 3) multiplies. */
static void transform_rows(const float *const *rows, float *to, int64_t floats) {
    for (int64_t x = 0; x < floats; x += LANES) {
        vf d[POINTS];
        for (int p = 0; p < POINTS; p++) d[p] = load(rows[p] + x);
        vf even = fma_(all(-4.0f), d[2], d[4]), odd = fma_(all(-4.0f), d[1], d[3]);
        vf near = d[4] - d[2], far = 2.0f * (d[3] - d[1]);
        store(to + x, fma_(all(4.0f), d[0], fma_(all(-5.0f), d[2], d[4])));
        store(to + floats + x, even + odd);
        store(to + 2 * floats + x, even - odd);
        store(to + 3 * floats + x, near + far);
        store(to + 4 * floats + x, near - far);
        store(to + 5 * floats + x, fma_(all(4.0f), d[1], fma_(all(-5.0f), d[3], d[5])));
    }
}

/* One of the BAND rows that F(4, 3) makes of its products. */
INLINE vf untransformed(const vf products[POINTS], int row) {
    vf sum = products[1] + products[2], difference = products[1] - products[2];
    vf wide_sum = products[3] + products[4], wide_difference = products[3] - products[4];
    if (row == 0) return products[0] + (sum + wide_sum);
    if (row == 1) return fma_(all(2.0f), wide_difference, difference);
    if (row == 2) return fma_(all(4.0f), wide_sum, sum);
    return fma_(all(8.0f), wide_difference, difference) + products[5];
}

/* GROUP outputs of BAND rows, `span` vectors wide from column x. */
INLINE void block(const Layer *layer, int group, int side, const float *const *rows, const float *transformed,
                  int64_t width, int64_t x, float *const *out, int span) {
    const int in = layer->in, threes = side / 3, ones = side % 3;
    const int64_t set = (int64_t)in * side * GROUP, stride = stride_of(width), plane = row_floats(in, width);
    const float *weights = layer->weights + group * (threes * POINTS + ones) * set;
    vf products[GROUP][SPAN][POINTS];
    for (int point = 0; threes && point < POINTS; point++) {
        vf sum[GROUP][SPAN] = {};
        for (int three = 0; three < threes; three++) {
            int64_t place = three * POINTS + point;
            add_row(sum, transformed + place * plane + MARGIN + x, stride, in, side, weights + place * set, span);
        }
#pragma GCC unroll 6
        for (int o = 0; o < GROUP; o++)
#pragma GCC unroll 4
            for (int v = 0; v < span; v++) products[o][v][point] = sum[o][v];
    }
    for (int row = 0; row < BAND; row++) {
        vf sum[GROUP][SPAN];
#pragma GCC unroll 6
        for (int o = 0; o < GROUP; o++)
#pragma GCC unroll 4
            for (int v = 0; v < span; v++) {
                sum[o][v] = all(layer->bias[group * GROUP + o]);
                if (threes) sum[o][v] += untransformed(products[o][v], row);
            }
        for (int one = 0; one < ones; one++)
            add_row(sum, rows[row + threes * 3 + one] + MARGIN + x, stride, in, side,
                    weights + (threes * POINTS + one) * set, span);
        float *line = out[row] + group * GROUP * stride + MARGIN + x;
#pragma GCC unroll 6
        for (int o = 0; o < GROUP; o++)
#pragma GCC unroll 4
            for (int v = 0; v < span; v++)
                store(line + o * stride + v * LANES, max_(sum[o][v], layer->slope * sum[o][v]));
    }
}

INLINE void band_of_side(const Layer *layer, int side, const float *const *rows, float *transformed, int64_t width,
                         float *const *out) {
    const int64_t stride = stride_of(width), plane = row_floats(layer->in, width);
    for (int three = 0; three < side / 3; three++)
        transform_rows(rows + 3 * three, transformed + three * POINTS * plane, plane);
    const int groups = layer->out / GROUP;
    int64_t x = 0;
    for (; x + SPAN * LANES <= round_up(width, LANES); x += SPAN * LANES)
        for (int group = 0; group < groups; group++)
            block(layer, group, side, rows, transformed, width, x, out, SPAN);
    for (; x < width; x += LANES)
        for (int group = 0; group < groups; group++) block(layer, group, side, rows, transformed, width, x, out, 1);
    for (int row = 0; row < BAND; row++)
        for (int channel = 0; channel < layer->out; channel++)
            for (x = width; x < round_up(width, MARGIN); x++) out[row][channel * stride + MARGIN + x] = 0;
}

/* BAND rows of a layer's output.
 *
 * rows: side + 3 rows of its input, the first one half a kernel above the band.
 * transformed: working memory for side / 3 * POINTS rows of its input.
 * out: BAND rows; the lines' margins stay as they are, what lies between a line's last pixel and its margin gets 0. */
static void convolve_band(const Layer *layer, const float *const *rows, float *transformed, int64_t width,
                          float *const *out) {
    switch (layer->side) {
    case 1: band_of_side(layer, 1, rows, transformed, width, out); break;
    case 3: band_of_side(layer, 3, rows, transformed, width, out); break;
    case 7: band_of_side(layer, 7, rows, transformed, width, out); break;
    default: band_of_side(layer, layer->side, rows, transformed, width, out);
    }
}
