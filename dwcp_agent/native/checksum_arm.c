/* CRC-32C by the instructions of ARMv8-A's CRC extension. */
#include "core.h"

#if DWCP_ARM_VECTOR
#include "words.h"

#include <arm_acle.h>

#pragma GCC target("+crc")

uint32_t dwcp_crc_armcrc(uint32_t state, const uint8_t *data, size_t length)
{
    while (length && ((uintptr_t)data & 7)) {
        state = __crc32cb(state, *data++);
        length--;
    }
    while (length >= 8) {
        state = __crc32cd(state, dwcp_load64_le(data));
        data += 8;
        length -= 8;
    }
    while (length--)
        state = __crc32cb(state, *data++);
    return state;
}
#endif
