/* Pictures [channels, height, width] and rows of squares of pixels, whose pixels are channels. */
#pragma once

#include "convolution.h"

typedef struct {
    int64_t channels, height, width; /* of the picture */
    int64_t side;                    /* of a square */
} Squares;

INLINE int64_t square_rows(const Squares *s) { return (s->height + s->side - 1) / s->side; }
INLINE int64_t square_columns(const Squares *s) { return (s->width + s->side - 1) / s->side; }

/* A line of the picture as lines of squares: one for each column of a square. */
static void split_line(const Squares *s, const float *restrict line, float *restrict to, int64_t stride) {
    const int64_t whole = s->width / s->side, columns = square_columns(s);
    if (s->side == 2)
        for (int64_t x = 0; x < whole; x++) {
            to[x] = line[2 * x];
            to[x + stride] = line[2 * x + 1];
        }
    else if (s->side == 1)
        memcpy(to, line, (size_t)whole * sizeof *to);
    else
        for (int64_t dx = 0; dx < s->side; dx++)
            for (int64_t x = 0; x < whole; x++) to[dx * stride + x] = line[x * s->side + dx];
    for (int64_t dx = 0; whole < columns && dx < s->side; dx++) { /* what lacks is the last one again */
        int64_t from = whole * s->side + dx;
        to[dx * stride + whole] = line[from < s->width ? from : s->width - 1];
    }
}

/* The other way: lines of squares as a line of the picture, or added to it. */
static void join_line(const Squares *s, const float *restrict from, int64_t stride, float *restrict line, int add) {
    const int64_t whole = s->width / s->side;
    int64_t done = 0;
    if (s->side == 2 && !add)
        for (; done < whole; done++) {
            line[2 * done] = from[done];
            line[2 * done + 1] = from[done + stride];
        }
    if (s->side == 1 && !add)
        for (; done < whole; done++) line[done] = from[done];
    if (s->side == 1 && add)
        for (; done < whole; done++) line[done] += from[done];
    for (int64_t x = done * s->side; x < s->width; x++) { /* divisions: only for what is rare */
        float value = from[x % s->side * stride + x / s->side];
        line[x] = add ? line[x] + value : value;
    }
}

/* Row y of squares of one + other, or of one where other is NULL; lines below the last one are the last one again.
 * `line` is working memory for `width` floats. */
static void split_row(const Squares *s, const float *one, const float *other, int64_t y, float *line, float *row,
                      int64_t stride) {
    for (int64_t channel = 0; channel < s->channels; channel++)
        for (int64_t dy = 0; dy < s->side; dy++) {
            int64_t from = y * s->side + dy;
            if (from > s->height - 1) from = s->height - 1;
            int64_t place = (channel * s->height + from) * s->width;
            const float *source = one + place;
            if (other) {
                for (int64_t x = 0; x < s->width; x++) line[x] = one[place + x] + other[place + x];
                source = line;
            }
            split_line(s, source, row + (channel * s->side + dy) * s->side * stride + MARGIN, stride);
        }
}

/* A row of squares as lines of planes of `plane` floats, or added to them. */
static void join_row(const Squares *s, const float *row, float *to, int64_t plane, int64_t stride, int add) {
    for (int64_t channel = 0; channel < s->channels; channel++)
        for (int64_t dy = 0; dy < s->side; dy++)
            join_line(s, row + (channel * s->side + dy) * s->side * stride + MARGIN, stride,
                      to + channel * plane + dy * s->width, add);
}
