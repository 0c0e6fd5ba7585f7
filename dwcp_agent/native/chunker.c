/*
 * Content-defined chunks: gear hash and normalised chunking as in FastCDC (Xia et al., USENIX ATC 2016), with one difference. The hash at
 * an end is that of the 32 bytes before it, wherever the chunk began. So whether an end is a candidate depends on nothing else, and a
 * vector path may look at many places at once; the scalar path gives the same ends.
 */
#include "chunker.h"

#include <string.h>

enum { SEED = 5 };

dwcp_gear dwcp_gear_table;

static uint32_t gear[256];

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t value = *state += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

void dwcp_chunker_init(void)
{
    /* Ends must be the same on every host for ever: the seed is part of the format. It is the first with which a run of one byte,
       whichever, is never cut before its longest. */
    uint64_t state = SEED;
    for (int i = 0; i < 16; i++)
        dwcp_gear_table.low[i] = (uint32_t)(next_random(&state) >> 32);
    for (int i = 0; i < 16; i++)
        dwcp_gear_table.high[i] = (uint32_t)(next_random(&state) >> 32);
    for (int byte = 0; byte < 256; byte++)
        gear[byte] = dwcp_gear_table.low[byte & 15] ^ dwcp_gear_table.high[byte >> 4];
}

/* The first end in [from, to] whose hash is below `limit`, 0 when there is none. `from` is at least DWCP_GEAR_WINDOW. */
static size_t first_end(const uint8_t *data, size_t from, size_t to, uint32_t limit)
{
    uint32_t hash = 0;
    for (size_t at = from - DWCP_GEAR_WINDOW; at < from - 1; at++)
        hash = (hash << 1) + gear[data[at]];
    for (size_t end = from; end <= to; end++) {
        hash = (hash << 1) + gear[data[end - 1]];
        if (hash < limit)
            return end;
    }
    return 0;
}

/* The first end in [from, to] of a chunk that is looser from `normal` on. */
static size_t first_of_both(const dwcp_chunking *how, const uint8_t *data, size_t from, size_t normal, size_t to)
{
    size_t end = 0;
    if (from < normal)
        end = first_end(data, from, to < normal ? to : normal - 1, how->strict);
    if (!end && to >= normal)
        end = first_end(data, from < normal ? normal : from, to, how->loose);
    return end;
}

static inline size_t smaller(size_t left, size_t right)
{
    return left < right ? left : right;
}

/* The end of a chunk that began at `start` and has none by content; 0 when more content decides. */
static size_t forced_end(const dwcp_chunking *how, size_t start, size_t length, bool final)
{
    if (length - start >= how->most)
        return start + how->most;
    return final ? length : 0;
}

/* The end by content of the chunk that begins at `start`, at most at `to`; 0 when there is none. */
typedef size_t (*end_fn)(void *of, const dwcp_chunking *how, const uint8_t *data, size_t start, size_t to);

static inline size_t cut(end_fn end_by_content, void *of, const dwcp_chunking *how, const uint8_t *data, size_t length, bool final,
                         size_t *ends, size_t room)
{
    size_t count = 0, start = 0;
    while (start < length && count < room) {
        size_t end = 0;
        if (length - start >= how->least)
            end = end_by_content(of, how, data, start, start + smaller(how->most, length - start));
        if (!end)
            end = forced_end(how, start, length, final);
        if (!end)
            break;
        ends[count++] = start = end;
    }
    return count;
}

static size_t walked_end(void *unused, const dwcp_chunking *how, const uint8_t *data, size_t start, size_t to)
{
    (void)unused;
    return first_of_both(how, data, start + how->least, start + how->normal, to);
}

size_t dwcp_chunk_scalar(const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends, size_t room)
{
    return cut(walked_end, NULL, how, data, length, final, ends, room);
}

/* Marks of one block, made when first asked for. */
typedef struct {
    dwcp_mark_fn mark;
    const uint8_t *data;
    size_t length;
    uint32_t limit;
    size_t block; /* SIZE_MAX before the first */
    uint64_t bits[DWCP_BLOCK / DWCP_GROUP / 64];
} marks;

enum { GROUPS_PER_BLOCK = DWCP_BLOCK / DWCP_GROUP };

/* The first marked group in [group, last], last + 1 when there is none. */
static size_t next_marked(marks *of, size_t group, size_t last)
{
    while (group <= last) {
        size_t block = group / GROUPS_PER_BLOCK;
        if (block != of->block) {
            size_t base = block * DWCP_BLOCK;
            size_t groups = (smaller(of->length - base, DWCP_BLOCK) + DWCP_GROUP - 1) / DWCP_GROUP;
            memset(of->bits, 0, sizeof of->bits);
            size_t whole = smaller(of->length - base, DWCP_BLOCK) / DWCP_GROUP;
            of->mark(of->data, base, whole, of->limit, of->bits);
            if (groups > whole)
                of->bits[whole / 64] |= 1ull << (whole % 64);
            of->block = block;
        }
        size_t inside = group % GROUPS_PER_BLOCK;
        uint64_t word = of->bits[inside / 64] >> (inside % 64);
        if (word) {
            group += (size_t)__builtin_ctzll(word);
            return group <= last ? group : last + 1;
        }
        group += 64 - inside % 64;
    }
    return last + 1;
}

static size_t marked_end(void *in, const dwcp_chunking *how, const uint8_t *data, size_t start, size_t to)
{
    marks *of = in;
    const size_t from = start + how->least, last = (to - 1) / DWCP_GROUP;
    for (size_t group = next_marked(of, (from - 1) / DWCP_GROUP, last); group <= last; group = next_marked(of, group + 1, last)) {
        size_t low = group * DWCP_GROUP + 1, high = smaller(low + DWCP_GROUP - 1, to);
        size_t end = first_of_both(how, data, low < from ? from : low, start + how->normal, high);
        if (end)
            return end;
    }
    return 0;
}

size_t dwcp_chunk_marked(dwcp_mark_fn mark, const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends,
                         size_t room)
{
    marks of = {.mark = mark, .data = data, .length = length, .limit = how->loose, .block = SIZE_MAX};
    return cut(marked_end, &of, how, data, length, final, ends, room);
}
