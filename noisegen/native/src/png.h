/* The picture data of a PNG file: rows filtered by the mean of left and above, then one Huffman code for some rows.
 *
 * Noise has no repetitions to search for. Only runs of zeros, which flat areas turn into, are shortened. */
#pragma once

#include "vector.h"

#include <stdlib.h>

#define BLOCK_BYTES (1 << 18)
#define END_OF_BLOCK 256
#define SYMBOLS 286
#define LONGEST_CODE 14 /* four of them and seven bits more fit into 64 */
#define LONGEST_MATCH 258
#define SHORTEST_RUN 32

typedef struct {
    uint8_t *next;
    uint64_t bits;
    unsigned count; /* fewer than eight between two calls of `flush` */
} BitWriter;

INLINE void flush(BitWriter *to) {
    memcpy(to->next, &to->bits, 8);
    to->next += to->count >> 3;
    to->bits >>= to->count & ~7u;
    to->count &= 7;
}

INLINE void put(BitWriter *to, uint64_t value, unsigned count) {
    to->bits |= value << to->count;
    to->count += count;
    flush(to);
}

/* `row` and the one above it, NULL for the first; a pixel has `step` bytes. */
static void filter_row(const uint8_t *row, const uint8_t *above, size_t length, size_t step, uint8_t *to) {
    *to++ = 3;
    for (size_t i = 0; i < step; i++) to[i] = row[i] - (above ? above[i] >> 1 : 0);
    if (above)
        for (size_t i = step; i < length; i++) {
            const uint8_t a = above[i], b = row[i - step];
            to[i] = row[i] - (uint8_t)((a & b) + ((a ^ b) >> 1));
        }
    else
        for (size_t i = step; i < length; i++) to[i] = row[i] - (row[i - step] >> 1);
}

/* Adler-32 of what came before and `length` bytes more. */
static uint32_t adler32(uint32_t before, const uint8_t *data, size_t length) {
    uint32_t a = before & 0xFFFF, b = before >> 16;
    while (length) {
        const uint32_t n = length < 4096 ? (uint32_t)length : 4096;
        uint32_t sum = 0, weighted = 0;
        for (uint32_t i = 0; i < n; i++) {
            sum += data[i];
            weighted += (n - i) * data[i];
        }
        b = (b + n * a + weighted % 65521) % 65521;
        a = (a + sum) % 65521;
        data += n;
        length -= n;
    }
    return b << 16 | a;
}

INLINE uint64_t word_at(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* The first run of zeros that is worth shortening: its start, or `end`; `*length` is its number of bytes. */
static const uint8_t *next_run(const uint8_t *from, const uint8_t *end, size_t *length) {
    for (; end - from >= SHORTEST_RUN; from += 8) {
        if (word_at(from)) continue;
        const uint8_t *stop = from;
        while (end - stop >= 8 && !word_at(stop)) stop += 8;
        *length = stop - from;
        if (*length >= SHORTEST_RUN) return from;
        from = stop - 8;
    }
    *length = 0;
    return end;
}

/* A match of 3 to 258 bytes: its symbol, and how many bits of length - 3 follow it. */
INLINE unsigned match_symbol(unsigned length, unsigned *extra) {
    const unsigned over = length - 3;
    *extra = 0;
    if (length == LONGEST_MATCH) return 285;
    if (over < 8) return 257 + over;
    *extra = 29 - __builtin_clz(over);
    return 257 + 4 * *extra + (over >> *extra);
}

/* A run is a literal zero and matches that repeat it; the last one may be of this length. */
INLINE unsigned first_match(size_t rest) {
    if (rest < LONGEST_MATCH) return (unsigned)rest;
    /* fewer than three bytes cannot be left over */
    return rest - LONGEST_MATCH < 3 && rest > LONGEST_MATCH ? LONGEST_MATCH - 3 : LONGEST_MATCH;
}

static void count_symbols(const uint8_t *data, const uint8_t *end, uint32_t *counts) {
    uint32_t tables[4][256] = {0};
    memset(counts, 0, SYMBOLS * sizeof *counts);
    while (data < end) {
        size_t length;
        const uint8_t *run = next_run(data, end, &length);
        for (; run - data >= 4; data += 4)
            for (int j = 0; j < 4; j++) tables[j][data[j]]++;
        while (data < run) tables[0][*data++]++;
        if (!length) break;
        tables[0][0]++;
        for (size_t rest = length - 1; rest;) {
            unsigned extra;
            const unsigned match = first_match(rest);
            counts[match_symbol(match, &extra)]++;
            rest -= match;
        }
        data += length;
    }
    for (int i = 0; i < 256; i++)
        for (int j = 0; j < 4; j++) counts[i] += tables[j][i];
    counts[END_OF_BLOCK] = 1;
}

static int by_value(const void *left, const void *right) {
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* Lengths of a Huffman code for symbols counted at most 2**22 times, two or more of them at all. */
static void code_lengths(const uint32_t *counts, uint8_t *lengths) {
    uint32_t sorted[SYMBOLS], weight[2 * SYMBOLS];
    uint16_t parent[2 * SYMBOLS];
    uint8_t depth[2 * SYMBOLS];
    int symbols = 0;
    for (int i = 0; i < SYMBOLS; i++)
        if (counts[i]) sorted[symbols++] = counts[i] << 9 | i;
    qsort(sorted, symbols, sizeof *sorted, by_value);
    for (int i = 0; i < symbols; i++) weight[i] = sorted[i] >> 9;
    /* two queues, leaves and inner nodes, both in the order of their weights */
    int leaf = 0, inner = symbols;
    for (int node = symbols; node < 2 * symbols - 1; node++) {
        weight[node] = 0;
        for (int k = 0; k < 2; k++) {
            const int least = inner == node || (leaf < symbols && weight[leaf] <= weight[inner]) ? leaf++ : inner++;
            weight[node] += weight[least];
            parent[least] = node;
        }
    }
    unsigned of_length[LONGEST_CODE + 1] = {0};
    depth[2 * symbols - 2] = 0;
    for (int node = 2 * symbols - 3; node >= 0; node--) {
        depth[node] = depth[parent[node]] + 1;
        if (node < symbols) of_length[depth[node] < LONGEST_CODE ? depth[node] : LONGEST_CODE]++;
    }
    /* codes that were cut short take too much room: others are made longer until all fit */
    uint32_t room = 0;
    for (int i = 1; i <= LONGEST_CODE; i++) room += of_length[i] << (LONGEST_CODE - i);
    for (; room > 1u << LONGEST_CODE; room--) {
        int i = LONGEST_CODE - 1;
        while (!of_length[i]) i--;
        of_length[LONGEST_CODE]--;
        of_length[i]--;
        of_length[i + 1] += 2;
    }
    memset(lengths, 0, SYMBOLS);
    int rarest = 0;
    for (int i = LONGEST_CODE; i > 0; i--)
        for (unsigned k = 0; k < of_length[i]; k++) lengths[sorted[rarest++] & 511] = i;
}

/* For each symbol its code, to be written lowest bit first, and the length of it in the upper half. */
static void code_table(const uint8_t *lengths, uint32_t *table) {
    uint32_t code = 0;
    for (unsigned length = 1; length <= LONGEST_CODE; length++, code <<= 1)
        for (int i = 0; i < SYMBOLS; i++)
            if (lengths[i] == length) {
                uint32_t reversed = 0;
                for (unsigned bit = 0; bit < length; bit++) reversed |= (code >> bit & 1) << (length - 1 - bit);
                table[i] = length << 16 | reversed;
                code++;
            }
}

static void put_literals(BitWriter *to, const uint8_t *data, const uint8_t *end, const uint32_t *table) {
    BitWriter local = *to;
    for (; end - data >= 4; data += 4) {
        const uint32_t a = table[data[0]], b = table[data[1]], c = table[data[2]], d = table[data[3]];
        const unsigned ab = (a >> 16) + (b >> 16);
        const uint64_t first = (a & 0xFFFF) | (uint64_t)(b & 0xFFFF) << (a >> 16);
        const uint64_t second = (c & 0xFFFF) | (uint64_t)(d & 0xFFFF) << (c >> 16);
        put(&local, first | second << ab, ab + (c >> 16) + (d >> 16));
    }
    for (; data < end; data++) put(&local, table[*data] & 0xFFFF, table[*data] >> 16);
    *to = local;
}

static void put_run(BitWriter *to, size_t length, const uint32_t *table) {
    put(to, table[0] & 0xFFFF, table[0] >> 16);
    for (size_t rest = length - 1; rest;) {
        unsigned extra;
        const unsigned match = first_match(rest), symbol = match_symbol(match, &extra);
        put(to, table[symbol] & 0xFFFF, table[symbol] >> 16);
        put(to, (match - 3) & ((1u << extra) - 1), extra);
        put(to, 0, 1); /* the distance, one byte: the only one there is */
        rest -= match;
    }
}

static void put_block(BitWriter *to, const uint8_t *data, const uint8_t *end, int last) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint32_t counts[SYMBOLS], table[SYMBOLS];
    uint8_t lengths[SYMBOLS + 1];
    count_symbols(data, end, counts);
    code_lengths(counts, lengths);
    code_table(lengths, table);
    lengths[SYMBOLS] = 1; /* of the one distance */
    put(to, last | 2 << 1, 3);
    put(to, (SYMBOLS - 257) | 0 << 5 | (19 - 4) << 10, 14);
    /* the lengths themselves in four bits each: they are few against the pixels */
    for (int i = 0; i < 19; i++) put(to, order[i] < 16 ? 4 : 0, 3);
    for (int i = 0; i <= SYMBOLS; i++) {
        const unsigned n = lengths[i];
        put(to, (n & 1) << 3 | (n & 2) << 1 | (n & 4) >> 1 | n >> 3, 4);
    }
    while (data < end) {
        size_t length;
        const uint8_t *run = next_run(data, end, &length);
        put_literals(to, data, run, table);
        if (length) put_run(to, length, table);
        data = run + length;
    }
    put(to, table[END_OF_BLOCK] & 0xFFFF, table[END_OF_BLOCK] >> 16);
}

/* Writes a zlib stream of `height` rows of `length` bytes; returns its size, 2 * height * (length + 1) + 1024 at most.
 * `filtered` has room for the rows and a byte more for each. */
EXPORT size_t noisegen_png_data(const uint8_t *rows, size_t height, size_t length, size_t step, uint8_t *filtered,
                                uint8_t *to) {
    const size_t line = length + 1;
    size_t lines = BLOCK_BYTES / line;
    if (!lines) lines = 1;
    uint32_t check = 1;
    BitWriter out = {to + 2, 0, 0};
    to[0] = 0x78, to[1] = 0x01;
    for (size_t top = 0; top < height; top += lines) {
        const size_t bottom = top + lines < height ? top + lines : height;
        uint8_t *block = filtered + top * line;
        for (size_t y = top; y < bottom; y++)
            filter_row(rows + y * length, y ? rows + (y - 1) * length : NULL, length, step, filtered + y * line);
        check = adler32(check, block, (bottom - top) * line);
        put_block(&out, block, filtered + bottom * line, bottom == height);
    }
    put(&out, 0, -out.count & 7);
    for (int shift = 24; shift >= 0; shift -= 8) *out.next++ = check >> shift;
    return out.next - to;
}
