/* Working memory of one call, taken in parts: once without memory, which counts, and once more with it. */
#pragma once

#include <stdlib.h>

#include "vector.h"

typedef struct {
    char *memory;
    int64_t used;
} Arena;

/* The next part, for whole cache lines; NULL while there is no memory. */
static void *take(Arena *arena, int64_t bytes) {
    void *part = arena->memory ? arena->memory + arena->used : NULL;
    arena->used += (bytes + 63) / 64 * 64;
    return part;
}

static float *take_floats(Arena *arena, int64_t count) { return take(arena, count * (int64_t)sizeof(float)); }

/* Gets zeroed memory for what was counted, and begins anew. Returns -1 without memory. */
static int provide(Arena *arena) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (size_t)arena->used)) return -1;
    memset(memory, 0, (size_t)arena->used);
    *arena = (Arena){memory, 0};
    return 0;
}
