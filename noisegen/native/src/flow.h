/* The compact flow from latents to noisy values: filter, networks and the rest for a few lines of the picture at a time,
 * so that what lies between them stays in cache. */
#pragma once

#include "filter.h"
#include "network.h"
#include "render.h"

typedef struct {
    Rendering rendering;
    const Layer *filter; /* of the latents, or NULL */
    int64_t period;      /* side of the filter's squares */
    int64_t networks;
    const Network *network;
} Flow;

typedef struct {
    const Flow *flow;
    Squares pixels; /* the picture, in squares of one pixel */
    int64_t lines;  /* made at once: whole bands of the filter and of all networks */
    Filtering filter;
    Work *work;
    float *latents, *log_scale; /* [channels, lines, width] */
} Run;

INLINE int64_t common_multiple(int64_t a, int64_t b) {
    int64_t multiple = a;
    while (multiple % b) multiple += a;
    return multiple;
}

static void prepare_run(Run *run, const float *latent, const float *clean, const float *uniform, Arena *arena) {
    const Flow *flow = run->flow;
    run->lines = 2; /* an even number, as rendering has a period of 2 */
    if (flow->filter) {
        run->lines = common_multiple(run->lines, BAND * flow->period);
        run->filter = (Filtering){.layer = flow->filter, .squares = run->pixels, .picture = latent};
        run->filter.squares.side = flow->period;
        prepare_filter(&run->filter, arena);
    }
    run->work = take(arena, flow->networks * (int64_t)sizeof *run->work);
    for (int64_t i = 0; i < flow->networks; i++) {
        Work work = {.network = &flow->network[i], .squares = run->pixels, .clean = clean, .uniform = uniform};
        work.squares.side = flow->network[i].side;
        prepare_network(&work, arena);
        if (run->work) run->work[i] = work;
        run->lines = common_multiple(run->lines, BAND * work.squares.side);
    }
    const int64_t strip = run->pixels.channels * run->lines * run->pixels.width;
    run->latents = take_floats(arena, strip);
    run->log_scale = take_floats(arena, strip);
}

/* noisy, neither rounded nor clipped. All are [channels, height, width]. Returns -1 without memory. */
EXPORT int noisegen_flow(const Flow *flow, int64_t channels, int64_t height, int64_t width, const float *latent,
                         const float *clean, const float *uniform, float *noisy) {
    Run run = {.flow = flow, .pixels = {channels, height, width, 1}};
    Arena arena = {};
    prepare_run(&run, latent, clean, uniform, &arena);
    if (provide(&arena)) return -1;
    prepare_run(&run, latent, clean, uniform, &arena);
    const int64_t plane = run.lines * width;
    for (int64_t top = 0; top < height; top += run.lines) {
        const int64_t lines = height - top < run.lines ? height - top : run.lines;
        if (flow->filter)
            for (int64_t line = 0; line < lines; line += BAND * flow->period)
                filter_band(&run.filter, (top + line) / flow->period, run.latents + line * width, plane);
        for (int64_t i = 0; i < flow->networks; i++)
            for (int64_t line = 0; line < lines; line += BAND * flow->network[i].side)
                network_band(&run.work[i], run.log_scale + line * width, plane, i > 0);
        for (int64_t channel = 0; channel < channels; channel++) {
            const int64_t place = (channel * height + top) * width;
            render_lines(&flow->rendering, channel, lines, width,
                         flow->filter ? run.latents + channel * plane : latent + place, clean + place, uniform + place,
                         flow->networks ? run.log_scale + channel * plane : NULL, noisy + place);
        }
    }
    free(arena.memory);
    return 0;
}
