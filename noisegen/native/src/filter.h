/* A linear filter over a picture whose sides are joined. */
#pragma once

#include "squares.h"

/* One layer over squares of a picture on its way, circular; its kernel reaches no further than the squares go. */
typedef struct {
    const Layer *layer;
    Squares squares;
    const float *picture;
    int64_t rows, width; /* of squares */
    int64_t ready;       /* the next row to be taken */
    float *ring;         /* the last rows taken, as many as a band needs */
    const float **taken;
    float *transformed, *band;
} Filtering;

static void prepare_filter(Filtering *f, Arena *arena) {
    const int side = f->layer->side, ring = side + BAND - 1;
    f->rows = square_rows(&f->squares);
    f->width = square_columns(&f->squares);
    f->ready = -(side / 2);
    f->ring = take_floats(arena, ring * row_floats(f->layer->in, f->width));
    f->taken = take(arena, ring * (int64_t)sizeof *f->taken);
    f->transformed = take_floats(arena, side / 3 * POINTS * row_floats(f->layer->in, f->width));
    f->band = take_floats(arena, BAND * row_floats(f->layer->out, f->width));
}

/* Fills what lies beyond a row's ends from its other end. */
static void join_ends(float *row, int64_t lines, int64_t width, int64_t reach) {
    for (int64_t line = 0; line < lines; line++) {
        float *pixels = row + line * stride_of(width) + MARGIN;
        for (int64_t x = 0; x < reach; x++) {
            pixels[-1 - x] = pixels[width - 1 - x];
            pixels[width + x] = pixels[x];
        }
    }
}

/* The filtered picture's rows of squares from y on, BAND of them or what is left, as lines of planes. Bands come in
 * order. */
static void filter_band(Filtering *f, int64_t y, float *to, int64_t plane) {
    const Squares *squares = &f->squares;
    const int reach = f->layer->side / 2, ring = f->layer->side + BAND - 1;
    const int64_t in = row_floats(f->layer->in, f->width), out = row_floats(f->layer->out, f->width);
    for (; f->ready < y + BAND + reach; f->ready++) {
        float *row = f->ring + (f->ready + reach) % ring * in;
        split_row(squares, f->picture, NULL, (f->ready % f->rows + f->rows) % f->rows, NULL, row, stride_of(f->width));
        join_ends(row, f->layer->in, f->width, reach);
    }
    for (int row = 0; row < ring; row++) f->taken[row] = f->ring + (y + row) % ring * in;
    float *band[BAND];
    for (int row = 0; row < BAND; row++) band[row] = f->band + row * out;
    convolve_band(f->layer, f->taken, f->transformed, f->width, band);
    for (int row = 0; row < BAND && y + row < f->rows; row++)
        join_row(squares, band[row], to + row * squares->side * squares->width, plane, stride_of(f->width), 0);
}

/* out [channels, height, width] = the filtered picture. Returns -1 without memory. */
EXPORT int noisegen_filter(const Layer *layer, const Squares *squares, const float *picture, float *out) {
    Filtering f = {.layer = layer, .squares = *squares, .picture = picture};
    Arena arena = {};
    prepare_filter(&f, &arena);
    if (provide(&arena)) return -1;
    prepare_filter(&f, &arena);
    for (int64_t y = 0; y < f.rows; y += BAND)
        filter_band(&f, y, out + y * squares->side * squares->width, squares->height * squares->width);
    free(arena.memory);
    return 0;
}
