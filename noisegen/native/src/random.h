/* Random numbers as noisegen.synthesis.randomness defines them: one Philox4x32-10 block for each pixel. */
#pragma once

#include "elementary.h"

INLINE void high_and_low(vu a, uint32_t factor, vu *high, vu *low) {
    const vl lower = (vl){} + 0xffffffffu, by = (vl){} + factor;
    vl even = widemul((vl)a, by), odd = widemul((vl)a >> 32, by);
    *high = (vu)((even >> 32) | (odd & ~lower));
    *low = (vu)((even & lower) | (odd << 32));
}

/* Replaces the counter by the block's four words. */
INLINE void philox(vu word[4], uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        vu high0, low0, high1, low1;
        high_and_low(word[0], 0xD2511F53u, &high0, &low0);
        high_and_low(word[2], 0xCD9E8D57u, &high1, &low1);
        word[0] = high1 ^ word[1] ^ key0;
        word[1] = low1;
        word[2] = high0 ^ word[3] ^ key1;
        word[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* Two standard normal numbers from the upper 24 bits of two words. */
INLINE void box_muller(vu first, vu second, vf *one, vf *other) {
    /* (n + 1) / 2^24 lies in (0, 1], so the logarithm is finite */
    vf share = __builtin_convertvector((vi)(first >> 8) + 1, vf) * 0x1p-24f;
    vf radius = sqrt_(log_(share) * -2.0f);
    cos_sin_turns(second >> 8, one, other);
    *one *= radius;
    *other *= radius;
}

INLINE vf low_byte(vu word) { return __builtin_convertvector((vi)(word & 0xffu), vf) * 0x1p-8f; }

/* The numbers of a rectangle whose first pixel is (y, x); normal and uniform are [channels, height, width]. */
EXPORT void noisegen_randomness(uint32_t key0, uint32_t key1, int64_t y, int64_t x, int64_t height, int64_t width,
                                int64_t channels, float *normal, float *uniform) {
    const int64_t plane = height * width;
    vu lane;
    for (int i = 0; i < LANES; i++) lane[i] = (uint32_t)i;
    for (int64_t row = 0; row < height; row++) {
        for (int64_t column = 0; column < width; column += LANES) {
            vu word[4] = {lane + (uint32_t)(x + column), (vu){} + (uint32_t)(y + row)};
            vf drawn[4];
            philox(word, key0, key1);
            box_muller(word[0], word[1], &drawn[0], &drawn[1]);
            if (channels > 2) box_muller(word[2], word[3], &drawn[2], &drawn[3]);
            for (int64_t channel = 0; channel < channels; channel++) {
                int64_t place = channel * plane + row * width + column;
                store_first(normal + place, drawn[channel], width - column);
                store_first(uniform + place, low_byte(word[channel]), width - column);
            }
        }
    }
}
