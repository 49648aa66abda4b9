/* SPDX-License-Identifier: MIT */
#include <xylem/abi.h>

int main(void)
{
    return 0;
}
