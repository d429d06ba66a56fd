/* Pictures [channels, height, width] and rows of squares of pixels, whose pixels are channels. */
#pragma once

#include "convolution.h"

typedef struct {
    int64_t channels, height, width; /* of the picture */
    int64_t side;                    /* of a square */
} Squares;

INLINE int64_t square_rows(const Squares *s) { return (s->height + s->side - 1) / s->side; }
INLINE int64_t square_columns(const Squares *s) { return (s->width + s->side - 1) / s->side; }

INLINE void take_every(const float *restrict from, float *restrict to, int64_t step, int64_t count) {
    for (int64_t x = 0; x < count; x++) to[x] = from[x * step];
}

INLINE void put_every(const float *restrict from, float *restrict to, int64_t step, int64_t count, int add) {
    if (add)
        for (int64_t x = 0; x < count; x++) to[x * step] += from[x];
    else
        for (int64_t x = 0; x < count; x++) to[x * step] = from[x];
}

/* A line of the picture as lines of squares: one for each column of a square. */
static void split_line(const Squares *s, const float *line, float *to, int64_t stride) {
    for (int64_t dx = 0; dx < s->side; dx++) {
        int64_t whole = (s->width - dx + s->side - 1) / s->side, columns = square_columns(s);
        float *target = to + dx * stride;
        if (s->side == 2)
            take_every(line + dx, target, 2, whole);
        else
            take_every(line + dx, target, s->side, whole);
        if (whole < columns) target[whole] = line[s->width - 1]; /* what lacks is the last one again */
    }
}

/* The other way: lines of squares as a line of the picture, or added to it. */
static void join_line(const Squares *s, const float *from, int64_t stride, float *line, int add) {
    for (int64_t dx = 0; dx < s->side; dx++) {
        int64_t whole = (s->width - dx + s->side - 1) / s->side;
        if (s->side == 2)
            put_every(from + dx * stride, line + dx, 2, whole, add);
        else
            put_every(from + dx * stride, line + dx, s->side, whole, add);
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

/* Row y of squares into the picture [channels, height, width], or added to it. */
static void join_row(const Squares *s, const float *row, int64_t y, float *picture, int64_t stride, int add) {
    for (int64_t channel = 0; channel < s->channels; channel++)
        for (int64_t dy = 0; dy < s->side && y * s->side + dy < s->height; dy++)
            join_line(s, row + (channel * s->side + dy) * s->side * stride + MARGIN, stride,
                      picture + (channel * s->height + y * s->side + dy) * s->width, add);
}

INLINE float *new_floats(int64_t count) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (size_t)count * sizeof(float))) return NULL;
    memset(memory, 0, (size_t)count * sizeof(float));
    return memory;
}
