/* SPDX-License-Identifier: MIT */
/* Any bytes as a line of the admin door: what is taken apart, quoted and taken apart again must be the same words. And
 * any bytes as an answer in JSON: its text has no blank line and nothing that steers a terminal. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/serve/admin_line.h"
#include "agent/serve/admin_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int fact)
{
    if (!fact)
        abort();
}

static void check_words(const struct admin_line *line)
{
    static char text[4 * ADMIN_LINE_MAX];
    struct admin_line again;
    size_t used = 0;
    for (size_t i = 0; i < line->count; i++) {
        text[used++] = ' ';
        used += admin_line_quote(line->words[i], text + used, sizeof text - used);
        require(used < sizeof text);
    }
    require(admin_line_parse(text, used, &again, NULL) == 0);
    require(again.count == line->count && !again.json);
    for (size_t i = 0; i < line->count; i++)
        require(strcmp(line->words[i], again.words[i]) == 0);
}

static void check_text(const char *text, size_t size)
{
    require(strlen(text) == size);
    require(size == 0 || (text[size - 1] == '\n' && text[0] != '\n'));
    for (size_t i = 0; i < size; i++)
        require((unsigned char)text[i] >= 0x20 ? text[i] != 0x7f
                                               : text[i] == '\n' && (i == 0 || text[i - 1] != '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct admin_line line;
    char *rendered = NULL;
    size_t rendered_size = 0;
    if (size > ADMIN_LINE_MAX)
        return 0;
    char *text = malloc(size + 1);
    require(text != NULL);
    memcpy(text, data, size);
    if (admin_text_render(text, size, &rendered, &rendered_size, NULL) == 0)
        check_text(rendered, rendered_size);
    free(rendered);
    if (admin_line_parse(text, size, &line, NULL) == 0)
        check_words(&line);
    free(text);
    return 0;
}
