/*
 * One kernel, timed: `kernels KERNEL PATH BYTES`.
 *
 * PATH is one of ours, or a peer: isal (crc32c), memcmp (pagescan), read (pagescan: how fast this machine reads). Calls are repeated for a
 * tenth of a second; prints bytes per second of the fastest of three such rounds. Exits 3 when a peer is not on this machine.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef unsigned int (*isal_fn)(unsigned char *data, int length, unsigned int value);

static uint8_t *data, *other;
static size_t size;
static const dwcp_path *path;
static isal_fn isal;
static volatile uint64_t sink;

static void run_crc(void) { sink += path->fn.crc((uint32_t)sink, data, size); }
static void run_isal(void) { sink += isal(data, (int)size, (unsigned)sink); }
static void run_zero(void) { sink += path->fn.zero(data, size); }
static void run_equal(void) { sink += path->fn.equal(data, other, size); }
static void run_memcmp(void) { sink += memcmp(data, data + 1, size - 1) == 0; }
static void run_xor(void) { path->fn.xor(other, other, data, size); }

static void run_chunk(void)
{
    static size_t ends[1 << 20];
    static const dwcp_chunking how = {16384, 65536, 262144, 16384, 262144};
    sink += path->fn.chunk(&how, data, size, true, ends, sizeof ends / sizeof *ends);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void run_read(void)
{
    __m256i sum[8] = {0};
    for (size_t at = 0; at + 256 <= size; at += 256)
        for (int i = 0; i < 8; i++)
            sum[i] = _mm256_xor_si256(sum[i], _mm256_load_si256((const __m256i *)(const void *)(data + at + 32 * i)));
    for (int i = 1; i < 8; i++)
        sum[0] = _mm256_xor_si256(sum[0], sum[i]);
    sink += (uint64_t)_mm256_extract_epi64(sum[0], 0);
}
#else
static void run_read(void)
{
    uint64_t sum = 0;
    for (size_t at = 0; at + 8 <= size; at += 8)
        sum ^= *(const uint64_t *)(const void *)(data + at);
    sink += sum;
}
#endif

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void (*chosen(const char *kernel, const char *name))(void)
{
    if (strcmp(kernel, "crc32c") == 0 && strcmp(name, "isal") == 0) {
        void *library = dlopen("libisal.so.2", RTLD_NOW);
        isal = library ? (isal_fn)(uintptr_t)dlsym(library, "crc32_iscsi") : NULL;
        if (!isal)
            exit(3);
        return run_isal;
    }
    if (strcmp(kernel, "pagescan") == 0 && strcmp(name, "memcmp") == 0)
        return run_memcmp;
    if (strcmp(kernel, "pagescan") == 0 && strcmp(name, "read") == 0)
        return run_read;
    static void (*const RUNS[DWCP_KERNELS])(void) = {
        [DWCP_CRC] = run_crc, [DWCP_ZERO] = run_zero, [DWCP_EQUAL] = run_equal, [DWCP_XOR] = run_xor, [DWCP_CHUNK] = run_chunk,
    };
    for (int number = 0; number < DWCP_KERNELS; number++)
        if (strcmp(dwcp_kernel_name(number), kernel) == 0)
            for (size_t i = 0; (path = dwcp_dispatch_path(number, i)) != NULL; i++)
                if (strcmp(path->name, name) == 0)
                    return RUNS[number];
    exit(3);
}

/* As the pool has it: in huge pages where the kernel grants them. */
static uint8_t *memory(size_t bytes)
{
    enum { HUGE_PAGE = 2 << 20 };
    const size_t whole = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uint8_t *found = aligned_alloc(HUGE_PAGE, whole);
    if (!found)
        exit(2);
    madvise(found, whole, MADV_HUGEPAGE);
    return found;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "kernels KERNEL PATH BYTES\n");
        return 2;
    }
    dwcp_dispatch_init();
    void (*run)(void) = chosen(argv[1], argv[2]);
    size = strtoul(argv[3], NULL, 10);
    if (size < 2)
        return 2;
    data = memory(size);
    other = memory(size);
    uint64_t state = 88172645463325252u;
    const bool zeros = strcmp(argv[1], "pagescan") == 0;
    for (size_t at = 0; at < size; at++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data[at] = other[at] = zeros ? 0 : (uint8_t)(state >> 32);
    }
    double best = 0;
    run();
    for (int round = 0; round < 3; round++) {
        size_t calls = 0, next = 1;
        const double began = now_s();
        double took = 0;
        do {
            for (size_t i = 0; i < next; i++)
                run();
            calls += next;
            took = now_s() - began;
            next = took < 0.02 ? next * 2 : next;
        } while (took < 0.1);
        const double rate = (double)size * (double)calls / took;
        best = rate > best ? rate : best;
    }
    printf("%.0f\n", best);
    return 0;
}
