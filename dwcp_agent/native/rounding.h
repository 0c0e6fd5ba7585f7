/* See rounding.c. Numbers are IEEE 754, of this machine's byte order; ``width`` is 4 or 8 bytes; ``data`` need not be aligned. */
#ifndef DWCP_ROUNDING_H
#define DWCP_ROUNDING_H

#include <stddef.h>
#include <stdint.h>

/* To multiples of 2^step; what is no larger than ``error``, which is from half of that to all of it, to 0. */
void dwcp_round_to_step(uint8_t *data, size_t count, int width, int step, double error);

/* To ``kept`` bits of the fraction, beside the one that is not stored. */
void dwcp_round_to_fraction(uint8_t *data, size_t count, int width, int kept);

#endif
