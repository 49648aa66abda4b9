/* SPDX-License-Identifier: MIT */
#include "bench/report.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/bench.h"

static const char *const thp_settings[] = {"enabled", "defrag", "shmem_enabled"};
#define THP_SETTINGS (sizeof thp_settings / sizeof thp_settings[0])

void report_begin(struct report *report, const char *command)
{
    *report = (struct report){.command = command};
}

static struct report_field *next_field(struct report *report, const char *name)
{
    if (report->count == REPORT_FIELDS_MAX)
        bench_fail("%s: more than %d fields", report->command, REPORT_FIELDS_MAX);
    struct report_field *field = &report->fields[report->count++];
    field->name = name;
    return field;
}

void report_number(struct report *report, const char *name, double value)
{
    struct report_field *field = next_field(report, name);
    field->form = REPORT_NUMBER;
    field->values[0] = value;
}

void report_distribution(struct report *report, const char *name, struct samples *samples)
{
    struct report_field *field = next_field(report, name);
    field->form = REPORT_DISTRIBUTION;
    field->values[0] = samples_percentile(samples, 0.5);
    field->values[1] = samples_percentile(samples, 0.99);
    field->values[2] = samples_percentile(samples, 0.999);
}

/* The chosen word of "always [madvise] never". */
static void thp_setting(const char *name, char *out, size_t size)
{
    char path[96];
    char line[128] = "";
    snprintf(path, sizeof path, "/sys/kernel/mm/transparent_hugepage/%s", name);
    FILE *file = fopen(path, "re");
    if (file && !fgets(line, sizeof line, file))
        line[0] = '\0';
    if (file)
        fclose(file);
    const char *start = strchr(line, '[');
    const char *end = start ? strchr(start, ']') : NULL;
    snprintf(out, size, "%.*s", end ? (int)(end - start - 1) : 7, end ? start + 1 : "unknown");
}

static void cpu_name(char *out, size_t size)
{
    char line[256];
    struct utsname system;
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(out, size, "%s", uname(&system) == 0 ? system.machine : "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!colon)
            continue;
        snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n\"\\"), colon + 2);
        break;
    }
    if (file)
        fclose(file);
}

static void print_json(const struct report *report, const char *cpu, char thp[][32])
{
    printf("{\"command\":\"%s\",\"cpu\":\"%s\",\"cpus\":%ld,\"thp\":{", report->command, cpu,
           sysconf(_SC_NPROCESSORS_ONLN));
    for (size_t i = 0; i < THP_SETTINGS; i++)
        printf("%s\"%s\":\"%s\"", i ? "," : "", thp_settings[i], thp[i]);
    fputs("}", stdout);
    for (unsigned i = 0; i < report->count; i++) {
        const struct report_field *field = &report->fields[i];
        if (field->form == REPORT_NUMBER)
            printf(",\"%s\":%.10g", field->name, field->values[0]);
        else
            printf(",\"%s\":{\"p50\":%.6g,\"p99\":%.6g,\"p999\":%.6g}", field->name, field->values[0],
                   field->values[1], field->values[2]);
    }
    puts("}");
}

static void print_table(const struct report *report, const char *cpu, char thp[][32])
{
    printf("xylem-bench %s on %ld x %s\ntransparent huge pages:", report->command,
           sysconf(_SC_NPROCESSORS_ONLN), cpu);
    for (size_t i = 0; i < THP_SETTINGS; i++)
        printf(" %s=%s", thp_settings[i], thp[i]);
    printf("\n\n%-34s %12s %12s %12s\n", "", "p50", "p99", "p99.9");
    for (unsigned i = 0; i < report->count; i++) {
        const struct report_field *field = &report->fields[i];
        if (field->form == REPORT_NUMBER)
            printf("%-34s %12.10g\n", field->name, field->values[0]);
        else
            printf("%-34s %12.2f %12.2f %12.2f\n", field->name, field->values[0], field->values[1],
                   field->values[2]);
    }
}

void report_print(const struct report *report, bool json)
{
    char cpu[128];
    char thp[THP_SETTINGS][32];
    cpu_name(cpu, sizeof cpu);
    for (size_t i = 0; i < THP_SETTINGS; i++)
        thp_setting(thp_settings[i], thp[i], sizeof thp[i]);
    if (json)
        print_json(report, cpu, thp);
    else
        print_table(report, cpu, thp);
}
