/*
 * Marking by vectors. A block is cut into as many segments as a vector has lanes, and every lane walks its own segment: a transposed square
 * of words brings the next bytes of each. What the lanes keep is only the smallest hash of a group, since nearly no group has a candidate.
 */
#include "chunker.h"

#if DWCP_X86_VECTOR
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

static inline void set_mark(uint64_t *marks, size_t group)
{
    marks[group / 64] |= 1ull << (group % 64);
}

/* Groups that no lane walks are marked: the walk by bytes looks at them. */
static void mark_rest(size_t from, size_t groups, uint64_t *marks)
{
    for (size_t group = from; group < groups; group++)
        set_mark(marks, group);
}

/* Where the bytes before a segment begin that its hash still holds; none are before the data. */
static inline size_t window_before(size_t at)
{
    return at < DWCP_GEAR_WINDOW ? 0 : at - DWCP_GEAR_WINDOW;
}

enum { MOST_LANES = 16 };

/* Where each lane's segment begins, and how far behind lane 0's window its own begins. */
typedef struct {
    const uint8_t *from[MOST_LANES];
    int32_t before[MOST_LANES];
    const uint8_t *window; /* of lane 0 */
} segments;

static inline segments segments_of(const uint8_t *data, size_t base, size_t each, size_t lanes)
{
    segments made;
    made.window = data + window_before(base);
    for (size_t lane = 0; lane < lanes; lane++) {
        size_t at = base + lane * each * DWCP_GROUP;
        made.from[lane] = data + at;
        made.before[lane] = (int32_t)(window_before(at) - window_before(base));
    }
    return made;
}

/* ---- AVX-512: sixteen lanes ---- */

/* One entry of each table, by the four bits from `shift` on: the permute reads the lowest four of each lane and no others. */
#define ENTRY_512(word, shift, table) _mm512_permutexvar_epi32(_mm512_srli_epi32(word, shift), table)

/* The hash after the next byte, the one from bit `shift` on. The shift must be a constant, or the instruction is another. */
#define STEP_512(shift)                                                                                                                  \
    hash = _mm512_add_epi32(_mm512_add_epi32(hash, hash),                                                                                \
                            _mm512_xor_si512(ENTRY_512(word, shift, low), ENTRY_512(word, (shift) + 4, high)));                          \
    least = _mm512_min_epu32(least, hash)

AVX512 static inline void walk_512(__m512i word, __m512i low, __m512i high, __m512i *hash_at, __m512i *least_at)
{
    __m512i hash = *hash_at, least = *least_at;
    STEP_512(0);
    STEP_512(8);
    STEP_512(16);
    STEP_512(24);
    *hash_at = hash;
    *least_at = least;
}

/* row[lane] holds 16 words of a lane; afterwards row[word] holds that word of every lane. */
AVX512 static inline void transpose_512(__m512i row[16])
{
    __m512i pair[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 2) {
        pair[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 4) {
        row[i] = _mm512_unpacklo_epi64(pair[i], pair[i + 2]);
        row[i + 1] = _mm512_unpackhi_epi64(pair[i], pair[i + 2]);
        row[i + 2] = _mm512_unpacklo_epi64(pair[i + 1], pair[i + 3]);
        row[i + 3] = _mm512_unpackhi_epi64(pair[i + 1], pair[i + 3]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 4; i++) {
        pair[i] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0x88);
        pair[i + 4] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0xDD);
        pair[i + 8] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0x88);
        pair[i + 12] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0xDD);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 4; i++) {
        row[i] = _mm512_shuffle_i32x4(pair[i], pair[i + 8], 0x88);
        row[i + 8] = _mm512_shuffle_i32x4(pair[i], pair[i + 8], 0xDD);
        row[i + 4] = _mm512_shuffle_i32x4(pair[i + 4], pair[i + 12], 0x88);
        row[i + 12] = _mm512_shuffle_i32x4(pair[i + 4], pair[i + 12], 0xDD);
    }
}

AVX512 static void mark_avx512(const uint8_t *data, size_t base, size_t groups, uint32_t limit, uint64_t *marks)
{
    enum { LANES = 16 };
    const size_t each = groups / LANES;
    mark_rest(each * LANES, groups, marks);
    if (!each)
        return;
    const __m512i low = _mm512_loadu_si512((const void *)dwcp_gear_table.low);
    const __m512i high = _mm512_loadu_si512((const void *)dwcp_gear_table.high);
    const __m512i below = _mm512_set1_epi32((int)limit);
    const segments of = segments_of(data, base, each, LANES);
    __m512i hash = _mm512_setzero_si512(), least = hash;
    const __m512i where = _mm512_loadu_si512((const void *)of.before);
    for (int word = 0; word < DWCP_GEAR_WINDOW / 4; word++)
        walk_512(_mm512_i32gather_epi32(where, (const void *)(of.window + 4 * word), 1), low, high, &hash, &least);
    for (size_t group = 0; group < each; group++) {
        __m512i row[LANES];
#pragma GCC unroll 16
        for (int lane = 0; lane < LANES; lane++)
            row[lane] = _mm512_loadu_si512((const void *)(of.from[lane] + group * DWCP_GROUP));
        transpose_512(row);
        least = _mm512_set1_epi32(-1);
#pragma GCC unroll 16
        for (int word = 0; word < LANES; word++)
            walk_512(row[word], low, high, &hash, &least);
        for (unsigned found = _mm512_cmplt_epu32_mask(least, below); found; found &= found - 1)
            set_mark(marks, (size_t)__builtin_ctz(found) * each + group);
    }
}

size_t dwcp_chunk_avx512(const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends, size_t room)
{
    return dwcp_chunk_marked(mark_avx512, how, data, length, final, ends, room);
}

/* ---- AVX2: eight lanes ---- */

typedef struct {
    __m256i low[2], high[2]; /* entries 0..7 and 8..15 */
} gear_256;

/* The entry by the four bits from `shift` on: two permutes by three of them; the fourth, moved to the sign, chooses. */
#define ENTRY_256(word, shift, table)                                                                                                    \
    _mm256_castps_si256(_mm256_blendv_ps(                                                                                                \
        _mm256_castsi256_ps(_mm256_permutevar8x32_epi32((table)[0], _mm256_srli_epi32(word, shift))),                                    \
        _mm256_castsi256_ps(_mm256_permutevar8x32_epi32((table)[1], _mm256_srli_epi32(word, shift))),                                    \
        _mm256_castsi256_ps(_mm256_slli_epi32(word, 28 - (shift)))))

#define STEP_256(shift)                                                                                                                  \
    hash = _mm256_add_epi32(_mm256_add_epi32(hash, hash),                                                                                \
                            _mm256_xor_si256(ENTRY_256(word, shift, gear->low), ENTRY_256(word, (shift) + 4, gear->high)));              \
    least = _mm256_min_epu32(least, hash)

AVX2 static inline void walk_256(__m256i word, const gear_256 *gear, __m256i *hash_at, __m256i *least_at)
{
    __m256i hash = *hash_at, least = *least_at;
    STEP_256(0);
    STEP_256(8);
    STEP_256(16);
    STEP_256(24);
    *hash_at = hash;
    *least_at = least;
}

AVX2 static inline void transpose_256(__m256i row[8])
{
    __m256i pair[8];
#pragma GCC unroll 16
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 8; i += 4) {
        row[i] = _mm256_unpacklo_epi64(pair[i], pair[i + 2]);
        row[i + 1] = _mm256_unpackhi_epi64(pair[i], pair[i + 2]);
        row[i + 2] = _mm256_unpacklo_epi64(pair[i + 1], pair[i + 3]);
        row[i + 3] = _mm256_unpackhi_epi64(pair[i + 1], pair[i + 3]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 4; i++) {
        pair[i] = _mm256_permute2x128_si256(row[i], row[i + 4], 0x20);
        pair[i + 4] = _mm256_permute2x128_si256(row[i], row[i + 4], 0x31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 8; i++)
        row[i] = pair[i];
}

AVX2 static inline __m256i load_256(const void *data)
{
    return _mm256_loadu_si256((const __m256i *)data);
}

AVX2 static void mark_avx2(const uint8_t *data, size_t base, size_t groups, uint32_t limit, uint64_t *marks)
{
    enum { LANES = 8 };
    const size_t each = groups / LANES;
    mark_rest(each * LANES, groups, marks);
    if (!each)
        return;
    const dwcp_gear *table = &dwcp_gear_table;
    const gear_256 gear = {{load_256(table->low), load_256(table->low + 8)}, {load_256(table->high), load_256(table->high + 8)}};
    const __m256i top = _mm256_set1_epi32((int)(limit - 1));
    const segments of = segments_of(data, base, each, LANES);
    __m256i hash = _mm256_setzero_si256(), least = hash;
    const __m256i where = load_256(of.before);
    const int *first = (const int *)(const void *)of.window;
    for (int word = 0; word < DWCP_GEAR_WINDOW / 4; word++)
        walk_256(_mm256_i32gather_epi32(first + word, where, 1), &gear, &hash, &least);
    for (size_t group = 0; group < each; group++) {
        least = _mm256_set1_epi32(-1);
        for (int half = 0; half < 2; half++) {
            __m256i row[LANES];
#pragma GCC unroll 8
            for (int lane = 0; lane < LANES; lane++)
                row[lane] = load_256(of.from[lane] + group * DWCP_GROUP + 32 * half);
            transpose_256(row);
#pragma GCC unroll 8
            for (int word = 0; word < LANES; word++)
                walk_256(row[word], &gear, &hash, &least);
        }
        __m256i hit = _mm256_cmpeq_epi32(_mm256_min_epu32(least, top), least);
        for (unsigned found = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(hit)); found; found &= found - 1)
            set_mark(marks, (size_t)__builtin_ctz(found) * each + group);
    }
}

size_t dwcp_chunk_avx2(const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends, size_t room)
{
    return dwcp_chunk_marked(mark_avx2, how, data, length, final, ends, room);
}
#endif
