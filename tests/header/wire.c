/* SPDX-License-Identifier: MIT */
#include <xylem/wire.h>

int main(void)
{
    return 0;
}
