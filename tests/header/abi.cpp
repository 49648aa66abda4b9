/* SPDX-License-Identifier: MIT */
#include <xylem/abi.h>

int main()
{
    return 0;
}
