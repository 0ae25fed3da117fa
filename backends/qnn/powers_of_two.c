/* pow(2, n) for whole n as the bits of the result, which is exact, as that of the C library is.
 *
 * Qualcomm's HTP emulator takes such a power for each number that it converts from or to the HTP's
 * own format, and spends more than half of its time in the C library's general function.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

typedef double (*power)(double, double);

/* Looked up as the library is loaded, before there are threads. */
static power next_pow;

__attribute__((constructor)) static void find_next(void)
{
    next_pow = (power)dlsym(RTLD_NEXT, "pow");
}

double pow(double base, double exponent)
{
    if (base == 2.0 && exponent >= -1022.0 && exponent <= 1023.0) { /* a normal number */
        int64_t whole = (int64_t)exponent;
        if ((double)whole == exponent) {
            uint64_t bits = (uint64_t)(whole + 1023) << 52;
            double result;
            memcpy(&result, &bits, sizeof result);
            return result;
        }
    }
    return next_pow(base, exponent);
}
