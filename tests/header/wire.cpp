/* SPDX-License-Identifier: MIT */
#include <xylem/wire.h>

int main()
{
    return 0;
}
