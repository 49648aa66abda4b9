/* SPDX-License-Identifier: MIT */
#include <xylem/x509.h>

int main(void)
{
    return 0;
}
