/* The published structure-aware layer: a network's outputs over a whole picture. */
#pragma once

#include "network.h"

/* out [outputs, height, width] for clean + uniform [channels, height, width]. Returns -1 without memory. */
EXPORT int noisegen_structure(const Network *network, int64_t channels, int64_t height, int64_t width,
                              const float *clean, const float *uniform, float *out) {
    const Work start = {
        .network = network, .squares = {channels, height, width, network->side}, .clean = clean, .uniform = uniform};
    const int64_t lines = BAND * network->side;
    Arena arena = {};
    Work work = start;
    prepare_network(&work, &arena);
    take_floats(&arena, network->outputs * lines * width);
    if (provide(&arena)) return -1;
    work = start;
    prepare_network(&work, &arena);
    float *band = take_floats(&arena, network->outputs * lines * width);
    for (int64_t top = 0; top < height; top += lines) {
        const int64_t whole = height - top < lines ? height - top : lines;
        network_band(&work, band, lines * width, 0);
        for (int64_t output = 0; output < network->outputs; output++)
            memcpy(out + (output * height + top) * width, band + output * lines * width,
                   whole * width * sizeof *out);
    }
    free(arena.memory);
    return 0;
}
