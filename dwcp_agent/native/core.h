/* The compiled core: kernels, their paths, and the one place that chooses between them. No Python in here. */
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

/* ---- cpu.c: what this machine can run ---- */
typedef struct {
    bool sse42;
    bool pclmul;
    bool avx2;
    bool vpclmul;
} dwcp_cpu;

dwcp_cpu dwcp_cpu_detect(void);

/* ---- kernels ---- */
/* CRC-32C over a raw (already inverted) state. */
typedef uint32_t (*dwcp_crc_fn)(uint32_t state, const uint8_t *data, size_t length);
/* True when all bytes are zero. */
typedef bool (*dwcp_zero_fn)(const uint8_t *data, size_t length);

void dwcp_crc_tables_init(void);
uint32_t dwcp_crc_scalar(uint32_t state, const uint8_t *data, size_t length);
bool dwcp_zero_scalar(const uint8_t *data, size_t length);

/* x^n mod P in reflected bit order, the base of every folding constant. */
uint32_t dwcp_crc_power(unsigned n);

#if DWCP_X86_VECTOR
void dwcp_crc_sse42_init(void);
void dwcp_crc_clmul_init(void);
uint32_t dwcp_crc_sse42(uint32_t state, const uint8_t *data, size_t length);
uint32_t dwcp_crc_pclmul(uint32_t state, const uint8_t *data, size_t length);
uint32_t dwcp_crc_avx2(uint32_t state, const uint8_t *data, size_t length);
bool dwcp_zero_avx2(const uint8_t *data, size_t length);
#endif

/* ---- dispatch.c: which path of each kernel runs ---- */
enum { DWCP_NO_SSE42 = 1, DWCP_NO_PCLMUL = 2, DWCP_NO_AVX2 = 4 };

typedef struct {
    const char *name;
    dwcp_crc_fn fn;
} dwcp_crc_path;

typedef struct {
    const char *name;
    dwcp_zero_fn fn;
} dwcp_zero_path;

enum { DWCP_MAX_PATHS = 4 };

typedef struct {
    dwcp_crc_path crc;
    dwcp_zero_path zero;
} dwcp_choice;

/* Builds the tables and chooses the best paths; call once before anything else. */
void dwcp_dispatch_init(void);
/* Chooses again, without the paths in `disabled` (DWCP_NO_*) and those that stand on them. */
void dwcp_dispatch_select(unsigned disabled);
/* What runs now. */
const dwcp_choice *dwcp_dispatch_current(void);
/* Every path this machine can run, whatever is disabled; returns how many. */
size_t dwcp_dispatch_crc_paths(dwcp_crc_path out[DWCP_MAX_PATHS]);
size_t dwcp_dispatch_zero_paths(dwcp_zero_path out[DWCP_MAX_PATHS]);

/* ---- affinity.c ---- */
#if DWCP_PHASE4
/* Pins the calling thread to `cpus`; returns 0 or an errno. */
int dwcp_pin_thread(const int *cpus, size_t count);
#endif

#endif
