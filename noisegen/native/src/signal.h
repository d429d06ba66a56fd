/* The published signal-dependent layer: pointwise convolutions of the clean picture with instance norms between them.
 *
 * A norm needs the moments of the whole picture, so the picture is gone over once for each norm and once more for the
 * result. What lies before is computed again each time: that is cheaper than to store and read it. */
#pragma once

#include "elementary.h"
#include "squares.h"

typedef struct {
    int64_t channels, layers;
    const Layer *layer;         /* of side 1 and without activations; the last one's outputs go through tanh */
    const float *const *gain;   /* of each layer's norm by channel; NULL for layers without */
    const float *const *offset; /* likewise */
    float slope;                /* of the leaky ReLU behind all layers but the last */
    float epsilon;              /* added to variances */
} Signal;

/* Sums of 16 interleaved parts, so that the order of additions does not depend on the width of vectors. */
#define PARTS 16

INLINE float sum_of_parts(const float part[PARTS]) {
    float sum = 0;
    for (int i = 0; i < PARTS; i++) sum += part[i];
    return sum;
}

/* The sum of (x - centre)^power, power 1 or 2. */
INLINE float moment(const float *values, int64_t count, float centre, int power) {
    vf sums[PARTS / LANES] = {};
    float part[PARTS];
    int64_t x = 0;
    for (; x + PARTS <= count; x += PARTS)
        for (int v = 0; v < PARTS / LANES; v++) {
            vf off = load(values + x + v * LANES) - centre;
            sums[v] += power == 2 ? off * off : off;
        }
    memcpy(part, sums, sizeof part);
    for (int i = 0; x < count; x++, i++) {
        float off = values[x] - centre;
        part[i] += power == 2 ? off * off : off;
    }
    return sum_of_parts(part);
}

typedef struct {
    double count, mean, squares; /* of deviations from the mean */
} Moments;

/* Adds a row's moments (Chan, Golub and LeVeque 1979). */
static void add_moments(Moments *m, const float *values, int64_t count) {
    double mean = moment(values, count, 0, 1) / count;
    double squares = moment(values, count, (float)mean, 2);
    double total = m->count + count, off = mean - m->mean;
    m->mean += off * count / total;
    m->squares += squares + off * off * m->count * count / total;
    m->count = total;
}

typedef struct {
    const Signal *signal;
    const float *clean, *uniform;
    int64_t height, width, stride;
    float *row[2][BAND]; /* input and output of a layer, in turns */
    float *scale, *shift; /* [layers][widest]: of each layer's outputs before the activation */
    int64_t widest;
} SignalWork;

static void activate(const SignalWork *work, int64_t layer, float *const *rows) {
    const Signal *s = work->signal;
    for (int row = 0; row < BAND; row++)
        for (int channel = 0; channel < s->layer[layer].out; channel++) {
            float *line = rows[row] + channel * work->stride + MARGIN;
            vf scale = all(work->scale[layer * work->widest + channel]);
            vf shift = all(work->shift[layer * work->widest + channel]);
            for (int64_t x = 0; x < work->width; x += LANES) {
                vf value = fma_(load(line + x), scale, shift);
                store(line + x, max_(value, s->slope * value));
            }
        }
}

/* Rows y .. y + BAND through the layers up to and including `last`; its outputs as they leave the convolution. */
static float *const *signal_band(SignalWork *work, int64_t y, int64_t last) {
    const Signal *s = work->signal;
    for (int row = 0; row < BAND; row++) {
        int64_t from = y + row < work->height ? y + row : work->height - 1;
        for (int64_t channel = 0; channel < s->channels; channel++) {
            int64_t place = (channel * work->height + from) * work->width;
            float *line = work->row[0][row] + channel * work->stride + MARGIN;
            for (int64_t x = 0; x < work->width; x++) line[x] = work->clean[place + x] + work->uniform[place + x];
        }
    }
    for (int64_t layer = 0; layer <= last; layer++) {
        float *const *in = work->row[layer % 2], *const *out = work->row[(layer + 1) % 2];
        convolve_band(&s->layer[layer], (const float *const *)in, NULL, work->width, out);
        if (layer < last) activate(work, layer, out);
    }
    return work->row[(last + 1) % 2];
}

/* Scale and shift of a layer's norm from the moments of its outputs over the picture. */
static void measure_norm(SignalWork *work, int64_t layer, Moments *moments) {
    const Signal *s = work->signal;
    const int outputs = s->layer[layer].out;
    memset(moments, 0, outputs * sizeof *moments);
    for (int64_t y = 0; y < work->height; y += BAND) {
        float *const *rows = signal_band(work, y, layer);
        for (int64_t row = 0; row < BAND && y + row < work->height; row++)
            for (int channel = 0; channel < outputs; channel++)
                add_moments(&moments[channel], rows[row] + channel * work->stride + MARGIN, work->width);
    }
    for (int channel = 0; channel < outputs; channel++) {
        double variance = moments[channel].squares / moments[channel].count;
        float scale = (float)(s->gain[layer][channel] / __builtin_sqrt(variance + s->epsilon));
        work->scale[layer * work->widest + channel] = scale;
        work->shift[layer * work->widest + channel] = s->offset[layer][channel] - (float)moments[channel].mean * scale;
    }
}

/* out [outputs, height, width], as many as the last layer has without its padding, for clean + uniform [channels, ..].
 * Returns -1 without memory. */
EXPORT int noisegen_signal(const Signal *signal, int64_t height, int64_t width, int64_t outputs, const float *clean,
                           const float *uniform, float *out) {
    SignalWork work = {.signal = signal, .clean = clean, .uniform = uniform, .height = height, .width = width};
    work.widest = signal->channels;
    for (int64_t layer = 0; layer < signal->layers; layer++)
        if (signal->layer[layer].out > work.widest) work.widest = signal->layer[layer].out;
    work.stride = stride_of(width);
    const int64_t row = work.widest * work.stride, table = round_up(signal->layers * work.widest, PARTS);
    float *memory = new_floats(2 * BAND * row + 2 * table);
    Moments *moments = malloc(work.widest * sizeof *moments);
    if (!memory || !moments) {
        free(memory), free(moments);
        return -1;
    }
    for (int i = 0; i < 2 * BAND; i++) work.row[i / BAND][i % BAND] = memory + i * row;
    work.scale = memory + 2 * BAND * row;
    work.shift = work.scale + table;
    for (int64_t layer = 0; layer + 1 < signal->layers; layer++) {
        for (int64_t channel = 0; channel < work.widest; channel++) work.scale[layer * work.widest + channel] = 1;
        if (signal->gain[layer]) measure_norm(&work, layer, moments);
    }
    for (int64_t y = 0; y < height; y += BAND) {
        float *const *rows = signal_band(&work, y, signal->layers - 1);
        for (int64_t i = 0; i < BAND && y + i < height; i++)
            for (int64_t channel = 0; channel < outputs; channel++) {
                const float *from = rows[i] + channel * work.stride + MARGIN;
                float *to = out + (channel * height + y + i) * width;
                for (int64_t x = 0; x < width; x += LANES) store_first(to + x, tanh_(load(from + x)), width - x);
            }
    }
    free(memory), free(moments);
    return 0;
}
