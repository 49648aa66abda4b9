/* SPDX-License-Identifier: MIT */
#include <xylem/xylem.h>

int main()
{
    return 0;
}
