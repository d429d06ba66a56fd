/* Matrix products of a few rows at a time, each element summed in order of k by fused multiply-adds: neither the number
 * of rows nor the width of the vectors changes a bit of it. */
#pragma once

#include "vector.h"

/* Columns that are packed side by side; the same for all instruction sets, as the packing is done outside. */
#define PANEL 32
/* Rows of accumulators: with the vectors of a panel they fill the registers. */
#if LANES == 16
#define ROWS 14
#elif LANES == 8
#define ROWS 6
#else
#define ROWS 8
#endif
#define VECTORS 2
/* Columns of one block of accumulators */
#define COLUMNS (VECTORS * LANES)

/* `rows` rows of a [.., lda] times a block of COLUMNS columns of a panel [k, PANEL], plus start (or 0), to c [.., ldc].
 * With `fetch` the next panel is brought towards the cache meanwhile. */
INLINE void multiply_block(
    const int rows, const int fetch, size_t k, const float *a, size_t lda, const float *panel, const float *start,
    float *c, size_t ldc) {
    vf sums[ROWS][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[r][v] = start ? load(start + v * LANES) : all(0);
    for (size_t i = 0; i < k; i++) {
        vf b[VECTORS];
        if (fetch) {
            /* the same place in the next panel, two lines of the cache */
            __builtin_prefetch(panel + (i + k) * PANEL, 0, 2);
            __builtin_prefetch(panel + (i + k) * PANEL + PANEL / 2, 0, 2);
        }
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) b[v] = load(panel + i * PANEL + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            vf factor = all(a[r * lda + i]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sums[r][v] = fma_(factor, b[v], sums[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) store(c + r * ldc + v * LANES, sums[r][v]);
}

#define CASE(n)                                                                  \
    case n:                                                                      \
        multiply_block(n, 0, k, a, lda, panel + part, begin, c + column, ldc);      \
        break;

/* c [m, ldc] = a [m, lda] x b + start. b is packed as [columns / PANEL, k, PANEL]; start has `columns` values or is NULL. */
static void multiply(
    size_t m, size_t columns, size_t k, const float *a, size_t lda, const float *b, const float *start, float *c,
    size_t ldc) {
    for (size_t column = 0; column < columns; column += COLUMNS) {
        const float *panel = b + column / PANEL * PANEL * k;
        const size_t part = column % PANEL;
        const float *begin = start ? start + column : NULL;
        const float *a0 = a;
        float *c0 = c;
        size_t left = m;
        if (left >= ROWS) {
            multiply_block(ROWS, 1, k, a, lda, panel + part, begin, c + column, ldc);
            left -= ROWS, a += ROWS * lda, c += ROWS * ldc;
        }
        for (; left >= ROWS; left -= ROWS, a += ROWS * lda, c += ROWS * ldc)
            multiply_block(ROWS, 0, k, a, lda, panel + part, begin, c + column, ldc);
        switch (left) {
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#if ROWS > 6
            CASE(6) CASE(7)
#endif
#if ROWS > 8
            CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13)
#endif
        default: break;
        }
        a = a0;
        c = c0;
    }
}
#undef CASE
