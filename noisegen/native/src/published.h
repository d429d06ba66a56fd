/* The published sampler up to the generator: latents through the inverse of the flow's affine layers, added to the
 * dequantized clean picture, rounded to whole grey levels. */
#pragma once

#include "elementary.h"

typedef struct {
    const float *planes; /* [2 channels, pixels]: log-scales, then biases; or NULL */
    const float *table;  /* [2 channels]: e^-log-scale and bias where they are the same at all pixels; or NULL */
} Affine;

typedef struct {
    int64_t channels, pixels, layers;
    const Affine *layer;  /* in the direction noise -> latent */
    float levels, unit;   /* number of grey levels, and how many of them make 1 for the generator */
    const float *clean, *uniform, *normal; /* [channels, pixels] */
    float *noise;         /* likewise: what the generator gets */
    float *base;          /* likewise: the clean picture in whole levels */
} Published;

INLINE vf whole_level(vf value, float levels) {
    vf inside = min_(max_(value * levels, all(0)), all(levels - 1));
    return __builtin_convertvector(__builtin_convertvector(inside, vi), vf);
}

EXPORT void noisegen_published(const Published *p) {
    for (int64_t channel = 0; channel < p->channels; channel++)
        for (int64_t x = 0; x < p->pixels; x += LANES) {
            const int64_t at = channel * p->pixels + x, left = p->pixels - x;
            vf noise = load_first(p->normal + at, left);
            for (int64_t i = p->layers - 1; i >= 0; i--) {
                const Affine *layer = &p->layer[i];
                if (layer->planes) {
                    vf bias = load_first(layer->planes + p->channels * p->pixels + at, left);
                    noise = (noise - bias) * exp_(-load_first(layer->planes + at, left));
                } else
                    noise = (noise - layer->table[p->channels + channel]) * layer->table[channel];
            }
            vf clean = (load_first(p->clean + at, left) + load_first(p->uniform + at, left)) / p->levels;
            vf base = whole_level(clean, p->levels);
            store_first(p->base + at, base, left);
            store_first(p->noise + at, (whole_level(noise + clean, p->levels) - base) / p->unit, left);
        }
}
