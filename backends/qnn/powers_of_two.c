/* pow(2, n) and ldexp(x, n) for whole n from the bits of 2^n: the results of the C library, exactly.
 *
 * Qualcomm's HTP emulator takes such a power for each number that it converts from or to the HTP's
 * own format, and spends more than half of its time in the C library's general functions.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

typedef double (*power)(double, double);
typedef double (*scaled)(double, int);

/* Looked up as the library is loaded, before there are threads. */
static power next_pow;
static scaled next_ldexp;

__attribute__((constructor)) static void find_next(void)
{
    next_pow = (power)dlsym(RTLD_NEXT, "pow");
    next_ldexp = (scaled)dlsym(RTLD_NEXT, "ldexp");
}

/* 2^n, for n from -1022 to 1023: a normal number. */
static double power_of_two(int32_t n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

double pow(double base, double exponent)
{
    if (base == 2.0 && __builtin_fabs(exponent) <= 1022.0) {
        int32_t whole = (int32_t)exponent;
        if ((double)whole == exponent)
            return power_of_two(whole);
    }
    return next_pow(base, exponent);
}

double ldexp(double value, int exponent)
{
    if (exponent >= -1022 && exponent <= 1023)
        return value * power_of_two(exponent); /* rounds once, as ldexp does */
    return next_ldexp(value, exponent);
}
