/* How many items a bounded structure may hold. */
#ifndef DWCP_CAPACITY_H
#define DWCP_CAPACITY_H

#include <stdbool.h>
#include <stddef.h>

static inline bool dwcp_capacity_fits(size_t capacity)
{
    return capacity >= 1 && capacity <= (size_t)1 << 30;
}

static inline size_t dwcp_power_of_two(size_t least)
{
    size_t power = 1;
    while (power < least)
        power <<= 1;
    return power;
}

#endif
