/* SPDX-License-Identifier: MIT */
/* Each input is a history of changes and questions; region and slow evaluator must give the same answers. */
#include "tests/unit/differential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct differential driver;
    static const uint8_t nothing;
    differential_open(&driver, 32u << 20);
    driver.bytes = size ? data : &nothing;
    driver.size = size;
    for (uint32_t step = 0; driver.size && step < 60; step++) {
        differential_change(&driver, 600);
        differential_ask(&driver, 900);
        differential_ask(&driver, 900);
    }
    differential_clear(&driver);
    harness_settle(&driver.harness);
    MUST(harness_statistics(&driver.harness).retired_bytes == 0);
    differential_close(&driver);
    return 0;
}
