/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* as xylem.h asks of a C program; C++ compilers define it themselves on Linux */
#include <xylem/xylem.h>

int main(void)
{
    return 0;
}
