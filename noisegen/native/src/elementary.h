/* Elementary functions as polynomials, to 2 units in the last place.
 *
 * Coefficients are minimax fits to float32, the first ones of each series being exact where they stand apart. */
#pragma once

#include "vector.h"

INLINE vi bits_of(vf a) { return (vi)a; }
INLINE vf of_bits(vi a) { return (vf)a; }

/* e^a; what lies outside -87 .. 88 is taken for the nearer of the two. */
INLINE vf exp_(vf a) {
    const vf rounder = all(12582912.0f); /* 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits */
    a = min_(max_(a, all(-87.0f)), all(88.0f));
    vf shifted = fma_(a, all(1.44269504f), rounder);
    vf whole = shifted - rounder;
    vf r = fma_(whole, all(-0.693359375f), a);
    r = fma_(whole, all(2.12194440e-4f), r);
    vf p = all(0.001381461f);
    p = fma_(p, r, all(0.00836871f));
    p = fma_(p, r, all(0.04166839f));
    p = fma_(p, r, all(0.16666521f));
    p = fma_(p, r, all(0.49999994f));
    p = fma_(r * r, p, r) + 1.0f;
    return of_bits(bits_of(p) + (bits_of(shifted) << 23));
}

/* The natural logarithm of a normal positive number. */
INLINE vf log_(vf a) {
    vi exponent = (bits_of(a) - 0x3f3504f3) >> 23; /* such that the rest lies in sqrt(1/2) .. sqrt(2) */
    vf f = of_bits(bits_of(a) - (exponent << 23)) - 1.0f;
    vf e = __builtin_convertvector(exponent, vf);
    vf p = all(-0.0763443f);
    p = fma_(p, f, all(0.1276155f));
    p = fma_(p, f, all(-0.13160194f));
    p = fma_(p, f, all(0.14201762f));
    p = fma_(p, f, all(-0.16623357f));
    p = fma_(p, f, all(0.20001227f));
    p = fma_(p, f, all(-0.25000823f));
    p = fma_(p, f, all(0.3333333f));
    vf square = f * f;
    vf rest = fma_(square, all(-0.5f), square * f * p);
    rest = fma_(e, all(-2.12194440e-4f), rest);
    return fma_(e, all(0.693359375f), f + rest);
}

/* a^power for normal positive a. */
INLINE vf pow_(vf a, vf power) { return exp_(log_(a) * power); }

INLINE vf tanh_(vf a) {
    vf size = of_bits(bits_of(a) & 0x7fffffff);
    vf square = a * a;
    vf p = all(-0.0057170363f);
    p = fma_(p, square, all(0.020650579f));
    p = fma_(p, square, all(-0.053743497f));
    p = fma_(p, square, all(0.13331491f));
    p = fma_(p, square, all(-0.33333284f));
    vf small = fma_(p * square, a, a);
    vf large = 1.0f - 2.0f / (exp_(2.0f * size) + 1.0f);
    large = of_bits(bits_of(large) | (bits_of(a) & (int32_t)0x80000000));
    return choose(size < 0.625f, small, large);
}

/* Cosine and sine of n / 2^24 turns, n below 2^24. */
INLINE void cos_sin_turns(vu n, vf *cosine, vf *sine) {
    vi quarter = (vi)((n + (1u << 21)) >> 22); /* the nearest one, 0 .. 4 */
    vf r = __builtin_convertvector((vi)n - (quarter << 22), vf) * 0x1p-24f;
    vf z = r * r;
    vf s = all(41.487576f);
    s = fma_(s, z, all(-76.69838f));
    s = fma_(s, z, all(81.60521f));
    s = fma_(s, z, all(-41.3417f));
    s = fma_(s, z, all(-1.7484555e-7f)); /* what 2 pi lacks in float32 */
    s = fma_(r, all(6.2831855f), r * s);
    vf c = all(59.24596f);
    c = fma_(c, z, all(-85.44374f));
    c = fma_(c, z, all(64.93932f));
    c = fma_(c, z, all(-19.739208f));
    c = fma_(c, z, all(1.0f));
    vi odd = -(quarter & 1);
    vi flip_sine = (quarter & 2) << 30, flip_cosine = ((quarter + 1) & 2) << 30;
    *sine = of_bits(bits_of(choose(odd, c, s)) ^ flip_sine);
    *cosine = of_bits(bits_of(choose(odd, s, c)) ^ flip_cosine);
}

/* One function over many values, so that tests can measure it: exp, log, tanh. */
EXPORT void noisegen_elementary(int which, const float *from, float *to, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) {
        vf a = load_first(from + i, count - i);
        store_first(to + i, which == 0 ? exp_(a) : which == 1 ? log_(a) : tanh_(a), count - i);
    }
}
