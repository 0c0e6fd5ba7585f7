/* Rounds floating-point numbers, in place, so that their last bits are zero, within an error that is named. Results are ordinary numbers.
 *
 * A positive number's bits are an integer that grows with it, so rounding the integer to a multiple of 2^k, to even, rounds the number; a
 * carry into the exponent is right as it is. How many bits may go depends on the exponent alone, so there is one table of them.
 */
#include "rounding.h"

#include <string.h>

enum { KEEP = 0, TO_ZERO = 254, BY_SIZE = 255 };

typedef struct {
    int fraction;  /* stored bits of the fraction */
    int exponents; /* values that the exponent's field has */
    int bias;
} layout;

static const layout SINGLE = {23, 256, 127}, DOUBLE = {52, 2048, 1023};

/* Zero and denormals, infinities and NaNs stay as they are: the first and last values of the field. */
static void bits_for_step(uint8_t *drop, const layout *of, int step)
{
    memset(drop, KEEP, (size_t)of->exponents);
    for (int exponent = 1; exponent < of->exponents - 1; exponent++) {
        const long long bits = (long long)step - (exponent - of->bias - of->fraction);
        if (bits > of->fraction + 1) /* below half a step */
            drop[exponent] = TO_ZERO;
        else if (bits == of->fraction + 1) /* from half a step to a step */
            drop[exponent] = BY_SIZE;
        else if (bits > 0)
            drop[exponent] = (uint8_t)bits;
    }
}

static void bits_for_fraction(uint8_t *drop, const layout *of, int kept)
{
    memset(drop, KEEP, (size_t)of->exponents);
    if (kept < of->fraction)
        memset(drop + 1, of->fraction - (kept > 0 ? kept : 0), (size_t)of->exponents - 2);
}

#define DEFINE_ROUND(name, word, number, LAYOUT)                                                                                           \
    static void name(uint8_t *data, size_t count, const uint8_t *drop, double error)                                                       \
    {                                                                                                                                      \
        const int fraction = LAYOUT.fraction;                                                                                              \
        const word sign = (word)1 << (sizeof(word) * 8 - 1), infinity = (word)(LAYOUT.exponents - 1) << fraction;                          \
        for (size_t index = 0; index < count; index++, data += sizeof(word)) {                                                             \
            word bits, rounded;                                                                                                            \
            memcpy(&bits, data, sizeof bits);                                                                                              \
            const unsigned k = drop[(bits & ~sign) >> fraction];                                                                           \
            if (k == KEEP)                                                                                                                 \
                continue;                                                                                                                  \
            if (k < TO_ZERO) {                                                                                                             \
                rounded = (bits + (((word)1 << (k - 1)) - 1) + ((bits >> k) & 1)) & ~(((word)1 << k) - 1);                                 \
            } else {                                                                                                                       \
                number size;                                                                                                               \
                const word positive = bits & ~sign;                                                                                        \
                memcpy(&size, &positive, sizeof size);                                                                                     \
                if (k == TO_ZERO || (double)size <= error)                                                                                 \
                    rounded = bits & sign;                                                                                                 \
                else /* to one step, which is the next power of two */                                                                     \
                    rounded = (bits | (((word)1 << fraction) - 1)) + 1;                                                                    \
            }                                                                                                                              \
            if ((rounded & infinity) != infinity) /* the largest stay as they are */                                                       \
                memcpy(data, &rounded, sizeof rounded);                                                                                    \
        }                                                                                                                                  \
    }

DEFINE_ROUND(round_single, uint32_t, float, SINGLE)
DEFINE_ROUND(round_double, uint64_t, double, DOUBLE)

static void round_all(uint8_t *data, size_t count, int width, const uint8_t *drop, double error)
{
    (width == 4 ? round_single : round_double)(data, count, drop, error);
}

void dwcp_round_to_step(uint8_t *data, size_t count, int width, int step, double error)
{
    uint8_t drop[2048];
    bits_for_step(drop, width == 4 ? &SINGLE : &DOUBLE, step);
    round_all(data, count, width, drop, error);
}

void dwcp_round_to_fraction(uint8_t *data, size_t count, int width, int kept)
{
    uint8_t drop[2048];
    bits_for_fraction(drop, width == 4 ? &SINGLE : &DOUBLE, kept);
    round_all(data, count, width, drop, 0.0);
}
