/* The compiled core's kernels, their paths, and the one place that chooses between them. No Python in here. */
#ifndef DWCP_CORE_H
#define DWCP_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef DWCP_PHASE4
#define DWCP_PHASE4 1
#endif

#if DWCP_PHASE4 && defined(__x86_64__)
#define DWCP_X86_VECTOR 1
#else
#define DWCP_X86_VECTOR 0
#endif

#if DWCP_PHASE4 && defined(__aarch64__) && defined(__linux__)
#define DWCP_ARM_VECTOR 1
#else
#define DWCP_ARM_VECTOR 0
#endif

/* ---- cpu.c: what this machine can run ---- */
enum {
    DWCP_SSE42 = 1u << 0,
    DWCP_PCLMUL = 1u << 1,
    DWCP_AVX2 = 1u << 2,
    DWCP_VPCLMUL = 1u << 3,
    DWCP_AVX512 = 1u << 4, /* F, BW, DQ and VL */
    DWCP_ARMCRC = 1u << 5,
    DWCP_HALVED = 1u << 6, /* no set, a habit: carry-less products of 512 bits take two turns, in which the CRC instruction can run */
};

typedef struct {
    const char *name;
    unsigned bit;
} dwcp_instruction_set;

/* Every instruction set that a path may need, by the name that switches it off; ends with a name of NULL. */
extern const dwcp_instruction_set DWCP_INSTRUCTION_SETS[];

/* The sets that this processor has and this kernel saves the registers of. */
unsigned dwcp_cpu_detect(void);

/* ---- kernels ---- */
/* CRC-32C over a raw (already inverted) state. */
typedef uint32_t (*dwcp_crc_fn)(uint32_t state, const uint8_t *data, size_t length);
/* True when all bytes are zero. */
typedef bool (*dwcp_zero_fn)(const uint8_t *data, size_t length);
/* True when all bytes of both are the same. */
typedef bool (*dwcp_equal_fn)(const uint8_t *left, const uint8_t *right, size_t length);
/* out[i] = left[i] ^ right[i]; out is left, or right, or overlaps neither. */
typedef void (*dwcp_xor_fn)(uint8_t *out, const uint8_t *left, const uint8_t *right, size_t length);

/* How content is cut into chunks. `least` is at least 64, least <= normal <= most. */
typedef struct {
    size_t least;    /* no chunk but the last is shorter */
    size_t normal;   /* from this length on an end is easier to find */
    size_t most;     /* no chunk is longer */
    uint32_t strict; /* before `normal`, a chunk ends where the gear hash is below this */
    uint32_t loose;  /* from `normal` on, where it is below this; not below `strict` */
} dwcp_chunking;

/*
 * The ends of data's chunks, ascending, at most `room`; returns how many. With `final` the last end is `length`; without, what follows the
 * last sure end is left to be looked at again with more behind it.
 */
typedef size_t (*dwcp_chunk_fn)(const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends, size_t room);

void dwcp_crc_tables_init(void);
/* x^n mod P in reflected bit order, the base of every folding constant. */
uint32_t dwcp_crc_power(unsigned n);
uint32_t dwcp_crc_scalar(uint32_t state, const uint8_t *data, size_t length);
bool dwcp_zero_scalar(const uint8_t *data, size_t length);
bool dwcp_equal_scalar(const uint8_t *left, const uint8_t *right, size_t length);
void dwcp_xor_scalar(uint8_t *out, const uint8_t *left, const uint8_t *right, size_t length);
void dwcp_chunker_init(void);
size_t dwcp_chunk_scalar(const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends, size_t room);

#if DWCP_X86_VECTOR
void dwcp_crc_sse42_init(void);
void dwcp_crc_clmul_init(void);
void dwcp_crc_paired_init(void);
uint32_t dwcp_crc_sse42(uint32_t state, const uint8_t *data, size_t length);
uint32_t dwcp_crc_pclmul(uint32_t state, const uint8_t *data, size_t length);
uint32_t dwcp_crc_avx2(uint32_t state, const uint8_t *data, size_t length);
uint32_t dwcp_crc_avx512(uint32_t state, const uint8_t *data, size_t length);
uint32_t dwcp_crc_paired(uint32_t state, const uint8_t *data, size_t length);
bool dwcp_zero_avx2(const uint8_t *data, size_t length);
bool dwcp_zero_avx512(const uint8_t *data, size_t length);
bool dwcp_equal_avx2(const uint8_t *left, const uint8_t *right, size_t length);
bool dwcp_equal_avx512(const uint8_t *left, const uint8_t *right, size_t length);
void dwcp_xor_avx2(uint8_t *out, const uint8_t *left, const uint8_t *right, size_t length);
void dwcp_xor_avx512(uint8_t *out, const uint8_t *left, const uint8_t *right, size_t length);
size_t dwcp_chunk_avx2(const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends, size_t room);
size_t dwcp_chunk_avx512(const dwcp_chunking *how, const uint8_t *data, size_t length, bool final, size_t *ends, size_t room);
#endif

#if DWCP_ARM_VECTOR
uint32_t dwcp_crc_armcrc(uint32_t state, const uint8_t *data, size_t length);
#endif

/* ---- dispatch.c: which path of each kernel runs ---- */
typedef enum { DWCP_CRC, DWCP_ZERO, DWCP_EQUAL, DWCP_XOR, DWCP_CHUNK, DWCP_KERNELS } dwcp_kernel;

typedef union {
    dwcp_crc_fn crc;
    dwcp_zero_fn zero;
    dwcp_equal_fn equal;
    dwcp_xor_fn xor;
    dwcp_chunk_fn chunk;
} dwcp_fn;

typedef struct {
    const char *name;
    unsigned needs; /* instruction sets, all of them */
    dwcp_fn fn;
} dwcp_path;

/* Builds the tables and chooses the best paths; call once before anything else. */
void dwcp_dispatch_init(void);
/* Chooses again, without the paths that need an instruction set of `disabled`. Safe beside running kernels. */
void dwcp_dispatch_select(unsigned disabled);
/* The kernel's name in reports. */
const char *dwcp_kernel_name(dwcp_kernel kernel);
/* What runs now. */
const dwcp_path *dwcp_dispatch_current(dwcp_kernel kernel);
/* The number-th path that this machine can run, weakest first, whatever is disabled; NULL after the last. */
const dwcp_path *dwcp_dispatch_path(dwcp_kernel kernel, size_t number);

/* ---- affinity.c ---- */
/* Pins the calling thread to `cpus`; returns 0 or an errno. */
int dwcp_pin_thread(const int *cpus, size_t count);

#endif
