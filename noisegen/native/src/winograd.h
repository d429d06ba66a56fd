/* 3x3 convolution by Winograd's algorithm (Lavin and Gray, CVPR 2016), channels last.
 *
 * Squares of m x m results come from patches of (m + 2) x (m + 2) values: each patch is transformed, multiplied by the
 * transformed kernel at each of its places, and the products are transformed back. F(6x6, 3x3) needs 64 multiplications
 * for the 324 of the direct form, F(4x4, 3x3) 36 for 144, with fewer weights to read. */
#pragma once

#include "gemm.h"

/* Transformed patches and products lie one after the other, [patch, place, channel], with gaps: a power of two between
 * places or patches would put them all into the same few lines of the cache. */
#define GAP 16

typedef struct {
    int64_t m;                    /* 4 or 6 */
    int64_t batch, height, width; /* of the pictures */
    int64_t inputs, skipped;      /* channels of x and of skip, multiples of 16 */
    int64_t outputs;              /* channels of out, a multiple of 32 */
    int64_t patches;              /* patches worked on at once */
    int64_t group;                /* outputs worked on at once, a multiple of 32 */
    const float *x;               /* [batch, height, width, inputs] */
    const float *skip;            /* [batch, height, width, skipped], further channels, or NULL */
    const float *weights;         /* [outputs / group, (m + 2)^2, group / 32, inputs + skipped, 32] */
    const float *bias;            /* [outputs] */
    float *out;                   /* [batch, height, width, outputs], after ReLU */
    float *pooled;                /* [batch, height / 2, width / 2, outputs], the largest of 2 x 2 each, or NULL */
    float *scratch;               /* see noisegen_winograd_scratch */
} Convolution;

INLINE size_t place_length(size_t channels) { return channels + GAP; }

INLINE size_t patch_length(int64_t m, size_t channels) { return (m + 2) * (m + 2) * place_length(channels) + GAP; }

/* Number of floats that `scratch` has to hold. */
EXPORT int64_t noisegen_winograd_scratch(const Convolution *c) {
    return c->patches * (patch_length(c->m, c->inputs + c->skipped) + patch_length(c->m, c->group));
}

INLINE void transform_in_4(vf *to, size_t step, vf d0, vf d1, vf d2, vf d3, vf d4, vf d5) {
    vf even = fma_(all(-4), d2, d4), odd = fma_(all(-4), d1, d3), two = d4 - d2, twice = (d3 - d1) * all(2);
    to[0] = fma_(all(4), d0, fma_(all(-5), d2, d4));
    to[1 * step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = two + twice;
    to[4 * step] = two - twice;
    to[5 * step] = fma_(all(4), d1, fma_(all(-5), d3, d5));
}

INLINE void transform_in_6(vf *to, size_t step, vf d0, vf d1, vf d2, vf d3, vf d4, vf d5, vf d6, vf d7) {
    vf even, odd;
    to[0] = fma_(all(5.25f), d4 - d2, d0 - d6);
    even = fma_(all(-4.25f), d4, d2 + d6), odd = fma_(all(-4.25f), d3, d1 + d5);
    to[1 * step] = even + odd;
    to[2 * step] = even - odd;
    even = fma_(all(-1.25f), d4, fma_(all(0.25f), d2, d6));
    odd = fma_(all(2), d5, fma_(all(-2.5f), d3, all(0.5f) * d1));
    to[3 * step] = even + odd;
    to[4 * step] = even - odd;
    even = fma_(all(-5), d4, fma_(all(4), d2, d6));
    odd = fma_(all(0.5f), d5, fma_(all(-2.5f), d3, all(2) * d1));
    to[5 * step] = even + odd;
    to[6 * step] = even - odd;
    to[7 * step] = fma_(all(5.25f), d3 - d5, d7 - d1);
}

INLINE void transform_out_4(vf *to, size_t step, vf m0, vf m1, vf m2, vf m3, vf m4, vf m5) {
    vf a = m1 + m2, b = m1 - m2, c = m3 + m4, d = m3 - m4;
    to[0] = m0 + a + c;
    to[1 * step] = fma_(all(2), d, b);
    to[2 * step] = fma_(all(4), c, a);
    to[3 * step] = fma_(all(8), d, b) + m5;
}

INLINE void transform_out_6(vf *to, size_t step, vf m0, vf m1, vf m2, vf m3, vf m4, vf m5, vf m6, vf m7) {
    vf a = m1 + m2, b = m1 - m2, c = m3 + m4, d = m3 - m4, e = m5 + m6, f = m5 - m6;
    to[0] = m0 + a + c + e;
    to[1 * step] = fma_(all(0.5f), f, fma_(all(2), d, b));
    to[2 * step] = fma_(all(0.25f), e, fma_(all(4), c, a));
    to[3 * step] = fma_(all(0.125f), f, fma_(all(8), d, b));
    to[4 * step] = fma_(all(0.0625f), e, fma_(all(16), c, a));
    to[5 * step] = fma_(all(0.03125f), f, fma_(all(32), d, b)) + m7;
}

/* Where a patch lies: its first result is at (y, x) of picture `index`. */
typedef struct {
    int64_t index, y, x;
} Place;

INLINE Place place_of(const Convolution *c, int64_t patch) {
    const int64_t across = (c->width + c->m - 1) / c->m, down = (c->height + c->m - 1) / c->m;
    return (Place){patch / (across * down), patch / across % down * c->m, patch % across * c->m};
}

/* Transforms LANES channels of a patch whose values lie `row` and `column` floats apart, to places `next` floats apart. */
INLINE void transform_patch(const int m, const float *from, size_t row, size_t column, float *to, size_t next) {
    vf half[64], d[8];
    const int side = m + 2;
    for (int j = 0; j < side; j++) {
        for (int i = 0; i < side; i++) {
            const float *value = from + i * row + j * column;
            d[i] = load(value);
            if (j >= 2) __builtin_prefetch(value + m * column); /* the next patch to the right needs it */
        }
        if (m == 6)
            transform_in_6(half + j, 8, d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]);
        else
            transform_in_4(half + j, 6, d[0], d[1], d[2], d[3], d[4], d[5]);
    }
    for (int i = 0; i < side; i++) {
        const vf *r = half + i * side;
        if (m == 6)
            transform_in_6(d, 1, r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]);
        else
            transform_in_4(d, 1, r[0], r[1], r[2], r[3], r[4], r[5]);
        for (int j = 0; j < side; j++) store(to + (i * side + j) * next, d[j]);
    }
}

/* All channels of one source of a patch. What lies outside the picture is 0. */
INLINE void transform_source(
    const int m, const Convolution *c, Place at, const float *source, size_t channels, float *to, size_t next) {
    const int64_t side = m + 2, y0 = at.y - 1, x0 = at.x - 1;
    const float *from = source + ((at.index * c->height + y0) * c->width + x0) * (int64_t)channels;
    if (y0 >= 0 && x0 >= 0 && y0 + side <= c->height && x0 + side <= c->width) {
        for (size_t first = 0; first < channels; first += LANES)
            transform_patch(m, from + first, c->width * channels, channels, to + first, next);
        return;
    }
    float patch[64 * LANES];
    for (size_t first = 0; first < channels; first += LANES) {
        for (int64_t i = 0; i < side; i++)
            for (int64_t j = 0; j < side; j++) {
                const int there = y0 + i >= 0 && y0 + i < c->height && x0 + j >= 0 && x0 + j < c->width;
                store(
                    patch + (i * side + j) * LANES,
                    there ? load(from + (i * c->width + j) * (int64_t)channels + first) : all(0));
            }
        transform_patch(m, patch, side * LANES, LANES, to + first, next);
    }
}

/* LANES channels of the products back to m x m results, with bias and ReLU. */
INLINE void transform_products(const int m, const float *from, size_t next, vf bias, vf *results) {
    vf half[48], in[8];
    const int side = m + 2;
    for (int j = 0; j < side; j++) {
        for (int i = 0; i < side; i++) in[i] = load(from + (i * side + j) * next);
        if (m == 6)
            transform_out_6(half + j, 8, in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7]);
        else
            transform_out_4(half + j, 6, in[0], in[1], in[2], in[3], in[4], in[5]);
    }
    for (int i = 0; i < m; i++) {
        const vf *r = half + i * side;
        if (m == 6)
            transform_out_6(results + 6 * i, 1, r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]);
        else
            transform_out_4(results + 4 * i, 1, r[0], r[1], r[2], r[3], r[4], r[5]);
        for (int j = 0; j < m; j++) results[i * m + j] = max_(results[i * m + j] + bias, all(0));
    }
}

/* A group of outputs, from channel `offset` on. */
INLINE void write_results(
    const int m, const Convolution *c, Place at, int64_t offset, const float *from, size_t next) {
    const int64_t rows = c->height - at.y < m ? c->height - at.y : m;
    const int64_t columns = c->width - at.x < m ? c->width - at.x : m;
    float *out = c->out + ((at.index * c->height + at.y) * c->width + at.x) * c->outputs + offset;
    const int64_t half = c->width / 2;
    const int64_t pool = (at.index * (c->height / 2) + at.y / 2) * half + at.x / 2;
    float *pooled = c->pooled ? c->pooled + pool * c->outputs + offset : NULL;
    vf results[36];
    for (int64_t first = 0; first < c->group; first += LANES) {
        transform_products(m, from + first, next, load(c->bias + offset + first), results);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                float *to = out + (i * c->width + j) * c->outputs + first;
                store(to, results[i * m + j]);
                __builtin_prefetch(to + m * c->outputs, 1); /* the next patch to the right writes there */
            }
        for (int64_t i = 0; pooled && i + 1 < rows; i += 2)
            for (int64_t j = 0; j + 1 < columns; j += 2) {
                const vf *r = results + i * m + j;
                vf largest = max_(max_(r[0], r[1]), max_(r[m], r[m + 1]));
                store(pooled + (i / 2 * half + j / 2) * c->outputs + first, largest);
            }
    }
}

INLINE void convolve(const int m, const Convolution *c) {
    const int places = (m + 2) * (m + 2);
    const int64_t all_patches = c->batch * ((c->height + m - 1) / m) * ((c->width + m - 1) / m);
    const size_t k = c->inputs + c->skipped, n = c->group;
    const size_t next_in = place_length(k), next_out = place_length(n);
    const size_t row_in = patch_length(m, k), row_out = patch_length(m, n);
    float *transformed = c->scratch, *products = c->scratch + c->patches * row_in;
    for (int64_t first = 0; first < all_patches; first += c->patches) {
        const int64_t count = all_patches - first < c->patches ? all_patches - first : c->patches;
        for (int64_t p = 0; p < count; p++) {
            const Place at = place_of(c, first + p);
            float *to = transformed + p * row_in;
            transform_source(m, c, at, c->x, c->inputs, to, next_in);
            if (c->skip) transform_source(m, c, at, c->skip, c->skipped, to + c->inputs, next_in);
        }
        for (int64_t offset = 0; offset < c->outputs; offset += n) {
            const float *weights = c->weights + offset * places * k;
            for (int place = 0; place < places; place++)
                multiply(
                    count, n, k, transformed + place * next_in, row_in, weights + place * k * n, NULL,
                    products + place * next_out, row_out);
            for (int64_t p = 0; p < count; p++)
                write_results(m, c, place_of(c, first + p), offset, products + p * row_out, next_out);
        }
    }
}

/* Convolution with one pixel of zero padding, bias and ReLU. */
EXPORT void noisegen_winograd(const Convolution *c) {
    if (c->m == 6)
        convolve(6, c);
    else
        convolve(4, c);
}
