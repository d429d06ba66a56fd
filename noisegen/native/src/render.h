/* The flow at each pixel: from a latent and the log-scale of its noise to the noisy value. */
#pragma once

#include "elementary.h"

typedef struct {
    int64_t channels, height, width;
    const float *common; /* [channels][2][2]: log-scale of the pixels of even and odd rows and columns */
    int64_t knots;       /* of the intensity curve, 0 for none */
    float knots_per_value;
    const float *start, *slope;  /* [knots]: its line from each knot on, over value * knots_per_value */
    const float *tail_inverse;   /* [channels], or NULL without tails */
    float gamma_inverse, toe;    /* of the tone curve, gamma_inverse 0 without one; toe in pixel values */
} Rendering;

INLINE vf on_curve(const Rendering *r, vf value) {
    vf position = min_(max_(value * r->knots_per_value, all(0.0f)), all((float)(r->knots - 1)));
    vi knot = __builtin_convertvector(position, vi);
    return fma_(gather(r->slope, knot), position, gather(r->start, knot));
}

/* Twice sinh(a * asinh(x)): e^asinh(x) = x + sqrt(1 + x^2), here of |x|, where nothing cancels. */
INLINE vf with_tails(vf latent, float tail_inverse) {
    const vi sign = (vi)(vu){} + (int32_t)0x80000000;
    vf power = of_bits(bits_of(latent) & ~sign) + sqrt_(fma_(latent, latent, all(1.0f)));
    power = pow_(power, all(tail_inverse));
    return of_bits(bits_of(power - 1.0f / power) ^ (bits_of(latent) & sign));
}

INLINE vf rendered(const Rendering *r, vf value, vf latent, vf log_scale, float tail_inverse) {
    if (r->knots) log_scale += on_curve(r, value);
    vf noise = (r->tail_inverse ? with_tails(latent, tail_inverse) : latent) * exp_(log_scale);
    if (r->gamma_inverse == 0) return value + noise;
    vf base = value + r->toe;
    vf ratio = max_(noise / base + 1.0f, all(1e-6f)); /* the pole of the logarithm, far below black */
    return fma_(pow_(ratio, all(r->gamma_inverse)), base, all(-r->toe));
}

/* Noisy values, neither rounded nor clipped. All pictures are [channels, height, width]; log_scale may be NULL. */
EXPORT void noisegen_render(const Rendering *r, const float *latent, const float *clean, const float *uniform,
                            const float *log_scale, float *noisy) {
    for (int64_t channel = 0; channel < r->channels; channel++) {
        const float tail_inverse = r->tail_inverse ? r->tail_inverse[channel] : 1.0f;
        for (int64_t y = 0; y < r->height; y++) {
            const int64_t line = (channel * r->height + y) * r->width;
            vf common;
            for (int i = 0; i < LANES; i++) common[i] = r->common[channel * 4 + y % 2 * 2 + i % 2];
            for (int64_t x = 0; x < r->width; x += LANES) {
                const int64_t place = line + x, count = r->width - x;
                vf value = load_first(clean + place, count) + load_first(uniform + place, count);
                vf scale = common;
                if (log_scale) scale += load_first(log_scale + place, count);
                store_first(noisy + place, rendered(r, value, load_first(latent + place, count), scale, tail_inverse),
                            count);
            }
        }
    }
}
