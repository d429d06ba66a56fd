/* A chain of convolutions over a clean picture, tanh at its end: what a layer of the flow makes of its surroundings.
 *
 * Bands of rows go through all layers while they are in cache: each layer keeps the rows that the next one needs. */
#pragma once

#include "elementary.h"
#include "squares.h"

typedef struct {
    int64_t layers;
    const Layer *layer;
    int64_t outputs;     /* channels of the picture made */
    const float *factor; /* of each output behind tanh */
} Network;

/* A layer's input on its way: rows 4 * bands of which the ring holds the last. */
typedef struct {
    float *rows;
    int64_t channels, ring; /* a row's, and how many rows */
    int64_t done;           /* rows made so far */
} Stage;

typedef struct {
    const Network *network;
    const Squares *squares;
    const float *clean, *uniform;
    int64_t rows, width, stride;
    Stage *stage;       /* of each layer's input, and the last one's output */
    const float *zeros; /* a row */
    const float **taken;
    float *transformed, *line;
} Work;

INLINE float *row_at(const Work *work, int64_t stage, int64_t y) {
    const Stage *s = &work->stage[stage];
    return s->rows + y % s->ring * s->channels * work->stride;
}

/* Makes the next band of a stage, and before it what it needs of the stages before. */
static void next_band(Work *work, int64_t stage) {
    Stage *made = &work->stage[stage];
    const int64_t y = made->done;
    made->done += BAND;
    if (!stage) {
        for (int64_t row = y; row < y + BAND && row < work->rows; row++)
            split_row(work->squares, work->clean, work->uniform, row, work->line, row_at(work, 0, row), work->stride);
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
    const int64_t lines = work->network->outputs * work->squares->side * work->squares->side;
    for (int64_t line = 0; line < lines; line++) {
        float *pixels = row + line * work->stride + MARGIN;
        for (int64_t x = 0; x < work->width; x += LANES)
            store(pixels + x, tanh_(load(pixels + x)) * work->network->factor[line]);
    }
}

/* Lays the stages' rings into one block of memory; without one it counts the floats needed. */
static int64_t lay_out(Work *work, float *memory) {
    const Network *network = work->network;
    int64_t floats = 0, widest = 0, largest = 0;
    for (int64_t stage = 0; stage <= network->layers; stage++) {
        int64_t side = stage < network->layers ? network->layer[stage].side : 1;
        int64_t channels = stage ? network->layer[stage - 1].out : network->layer[0].in;
        int64_t ring = BAND * (2 * ((side / 2 + BAND - 1) / BAND) + 1);
        work->stage[stage] = (Stage){memory ? memory + floats : NULL, channels, ring, 0};
        floats += ring * channels * work->stride;
        int64_t transformed = side / 3 * POINTS * channels * work->stride;
        if (transformed > largest) largest = transformed;
        if (channels > widest) widest = channels;
    }
    if (memory) {
        work->transformed = memory + floats;
        work->zeros = work->transformed + largest;
        work->line = memory + floats + largest + widest * work->stride;
    }
    return floats + largest + widest * work->stride + round_up(work->squares->width, MARGIN);
}

/* log_scale [outputs, height, width] = the network at clean + uniform, or is added to it. Returns -1 without memory. */
EXPORT int noisegen_network(const Network *network, const Squares *squares, const float *clean, const float *uniform,
                            float *log_scale, int add) {
    int side = 1;
    for (int64_t layer = 0; layer < network->layers; layer++)
        if (network->layer[layer].side > side) side = network->layer[layer].side;
    Stage stages[network->layers + 1];
    const float *taken[side + BAND - 1];
    Work work = {.network = network, .squares = squares, .clean = clean, .uniform = uniform, .stage = stages,
                 .taken = NULL, .rows = square_rows(squares), .width = square_columns(squares)};
    work.stride = stride_of(work.width);
    work.taken = taken;
    float *memory = new_floats(lay_out(&work, NULL));
    if (!memory) return -1;
    lay_out(&work, memory);
    const int64_t last = network->layers;
    Squares made = *squares;
    made.channels = network->outputs;
    while (work.stage[last].done < work.rows) {
        int64_t y = work.stage[last].done;
        next_band(&work, last);
        for (; y < work.stage[last].done && y < work.rows; y++) {
            float *row = row_at(&work, last, y);
            finish_row(&work, row);
            join_row(&made, row, y, log_scale, work.stride, add);
        }
    }
    free(memory);
    return 0;
}
