/* Vectors of floats and integers as wide as the processor's registers.
 *
 * Arithmetic is the compiler's own on vector types; what it lacks stands here. Every operation acts on each lane alone
 * and is exact or correctly rounded, so results do not depend on the width. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#else
#include <arm_neon.h>
#define LANES 4
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint64_t vl __attribute__((vector_size(4 * LANES))); /* half as many lanes */

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))

INLINE vf load(const float *from) {
    vf value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *to, vf value) { memcpy(to, &value, sizeof value); }

/* As many lanes as there are, at most `count`. */
INLINE vf load_first(const float *from, int64_t count) {
    if (count >= LANES) return load(from);
    vf value = {};
    memcpy(&value, from, (size_t)count * sizeof *from);
    return value;
}

INLINE void store_first(float *to, vf value, int64_t count) {
    if (count >= LANES)
        store(to, value);
    else
        memcpy(to, &value, (size_t)count * sizeof *to);
}

INLINE vf all(float value) { return value - (vf){}; }

INLINE vf choose(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

#if defined(__AVX512F__)
INLINE vf fma_(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vf sqrt_(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
INLINE vf max_(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf min_(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE vl widemul(vl a, vl b) { return (vl)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
INLINE vf gather(const float *from, vi index) { return (vf)_mm512_i32gather_ps((__m512i)index, from, 4); }
#elif defined(__AVX2__)
INLINE vf fma_(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vf sqrt_(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
INLINE vf max_(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf min_(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE vl widemul(vl a, vl b) { return (vl)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
INLINE vf gather(const float *from, vi index) { return (vf)_mm256_i32gather_ps(from, (__m256i)index, 4); }
#else
INLINE vf fma_(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vf sqrt_(vf a) { return (vf)vsqrtq_f32((float32x4_t)a); }
INLINE vf max_(vf a, vf b) { return choose(a > b, a, b); }
INLINE vf min_(vf a, vf b) { return choose(a < b, a, b); }
INLINE vl widemul(vl a, vl b) {
    return (vl)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
}
INLINE vf gather(const float *from, vi index) {
    return (vf){from[index[0]], from[index[1]], from[index[2]], from[index[3]]};
}
#endif
