/* A chain of convolutions over a clean picture, tanh at its end: what a layer of the flow makes of its surroundings.
 *
 * Bands of rows go through all layers while they are in cache: each layer keeps the rows that the next one needs. */
#pragma once

#include "elementary.h"
#include "squares.h"

typedef struct {
    int64_t side; /* of the squares that it takes for pixels */
    int64_t layers;
    const Layer *layer;
    int64_t outputs;     /* channels of the picture that it makes */
    const float *factor; /* of each output behind tanh */
} Network;

/* What goes into a layer, or out of the last one, on its way: of its rows those that are still needed. */
typedef struct {
    float *rows;
    int64_t channels, ring; /* of a row, and how many rows */
    int64_t done;           /* rows made so far */
} Stage;

/* A network on its way over a picture. */
typedef struct {
    const Network *network;
    Squares squares;
    const float *clean, *uniform;
    int64_t rows, width, stride; /* of squares */
    Stage *stage;                /* of each layer's input, and the last one's output */
    const float *zeros;          /* a row */
    const float **taken;
    float *transformed, *line;
} Work;

/* Row y of a stage; the ring is a whole number of bands. */
INLINE float *row_at(const Work *work, int64_t stage, int64_t y) {
    const Stage *s = &work->stage[stage];
    return s->rows + y % s->ring * row_floats(s->channels, work->width);
}

/* Makes the next band of a stage, and before it what it needs of the stages before. */
static void next_band(Work *work, int64_t stage) {
    Stage *made = &work->stage[stage];
    const int64_t y = made->done;
    made->done += BAND;
    if (!stage) {
        for (int64_t row = y; row < y + BAND && row < work->rows; row++)
            split_row(&work->squares, work->clean, work->uniform, row, work->line, row_at(work, 0, row), work->stride);
        return;
    }
    const Layer *layer = &work->network->layer[stage - 1];
    const int reach = layer->side / 2;
    while (work->stage[stage - 1].done < y + BAND + reach && work->stage[stage - 1].done < work->rows)
        next_band(work, stage - 1);
    for (int row = 0; row < layer->side + BAND - 1; row++) {
        int64_t from = y - reach + row;
        work->taken[row] = from < 0 || from >= work->rows ? work->zeros : row_at(work, stage - 1, from);
    }
    float *out[BAND];
    for (int row = 0; row < BAND; row++) out[row] = row_at(work, stage, y + row);
    convolve_band(layer, work->taken, work->transformed, work->width, out);
}

/* tanh and factor, in place. */
static void finish_row(const Work *work, float *row) {
    const int64_t lines = work->network->outputs * work->squares.side * work->squares.side;
    for (int64_t line = 0; line < lines; line++) {
        float *pixels = row + line * work->stride + MARGIN;
        for (int64_t x = 0; x < work->width; x += LANES)
            store(pixels + x, tanh_(load(pixels + x)) * work->network->factor[line]);
    }
}

static void prepare_network(Work *work, Arena *arena) {
    const Network *network = work->network;
    work->rows = square_rows(&work->squares);
    work->width = square_columns(&work->squares);
    work->stride = stride_of(work->width);
    work->stage = take(arena, (network->layers + 1) * (int64_t)sizeof *work->stage);
    int64_t widest = 0, largest = 0, longest = 1;
    for (int64_t stage = 0; stage <= network->layers; stage++) {
        int64_t side = stage < network->layers ? network->layer[stage].side : 1;
        int64_t channels = stage ? network->layer[stage - 1].out : network->layer[0].in;
        int64_t row = row_floats(channels, work->width), ring = BAND * (2 * ((side / 2 + BAND - 1) / BAND) + 1);
        float *rows = take_floats(arena, ring * row);
        if (work->stage) work->stage[stage] = (Stage){rows, channels, ring, 0};
        if (row > widest) widest = row;
        if (side / 3 * row > largest) largest = side / 3 * row;
        if (side > longest) longest = side;
    }
    work->transformed = take_floats(arena, POINTS * largest);
    work->zeros = take_floats(arena, widest);
    work->line = take_floats(arena, work->squares.width);
    work->taken = take(arena, (longest + BAND - 1) * (int64_t)sizeof *work->taken);
}

/* The network at clean + uniform: its next BAND rows of squares, or what is left, as lines of planes, or added. */
static void network_band(Work *work, float *to, int64_t plane, int add) {
    const int64_t last = work->network->layers, y = work->stage[last].done;
    Squares squares = work->squares;
    squares.channels = work->network->outputs;
    next_band(work, last);
    for (int64_t row = 0; row < BAND && y + row < work->rows; row++) {
        float *made = row_at(work, last, y + row);
        finish_row(work, made);
        join_row(&squares, made, to + row * squares.side * squares.width, plane, work->stride, add);
    }
}
