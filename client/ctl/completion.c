/* SPDX-License-Identifier: MIT */
#include "client/ctl/completion.h"

#include <stdbool.h>
#include <string.h>

#include "client/ctl/commands.h"

static size_t first_word(const char *name)
{
    return strcspn(name, " ");
}

/* Is this the first command that begins with its word? Those of a group follow each other. */
static bool is_first(const struct ctl_command *command)
{
    size_t size = first_word(command->name);
    return command == ctl_commands || first_word(command[-1].name) != size ||
           strncmp(command[-1].name, command->name, size) != 0;
}

static void write_first_words(FILE *out)
{
    for (const struct ctl_command *command = ctl_commands; command->name; command++)
        if (is_first(command))
            fprintf(out, "%s%.*s", command == ctl_commands ? "" : " ", (int)first_word(command->name),
                    command->name);
}

static void write_group(FILE *out, const struct ctl_command *command)
{
    size_t size = first_word(command->name);
    const char *separator = "";
    fprintf(out, "        %.*s) found=\"", (int)size, command->name);
    for (; command->name && (*separator == '\0' || !is_first(command)); command++) {
        if (command->name[size] == ' ')
            fprintf(out, "%s%s", separator, command->name + size + 1);
        separator = " ";
    }
    fprintf(out, "\" ;;\n");
}

static bool is_group(const struct ctl_command *command)
{
    return command->name[first_word(command->name)] == ' ' || (command[1].name && !is_first(command + 1));
}

static void write_options(FILE *out, const struct ctl_command *command)
{
    if (!command->options[0].name)
        return;
    fprintf(out, "        \"%s\"*) found=\"$found", command->name);
    for (const struct ctl_option *option = command->options; option->name; option++)
        fprintf(out, " %s", option->name);
    fprintf(out, "\" ;;\n");
}

void completion_write(FILE *out)
{
    fputs("# SPDX-License-Identifier: MIT\n"
          "# Completion of xylemctl for bash; what `xylemctl completion` prints.\n"
          "_xylemctl() {\n"
          "    local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
          "    local line=\"\" found=\"--json --socket --help\" at\n"
          "    case \"$before\" in\n"
          "        --socket) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
          "    esac\n"
          "    for ((at = 1; at < COMP_CWORD; at++)); do\n"
          "        case \"${COMP_WORDS[at]}\" in\n"
          "            --json | --help) ;;\n"
          "            --socket) ((at++)) ;;\n"
          "            *) line=\"${line:+$line }${COMP_WORDS[at]}\" ;;\n"
          "        esac\n"
          "    done\n"
          "    case \"$line\" in\n"
          "        \"\") found=\"$found --version ",
          out);
    write_first_words(out);
    fputs("\" ;;\n", out);
    for (const struct ctl_command *command = ctl_commands; command->name; command++)
        if (is_first(command) && is_group(command))
            write_group(out, command);
    for (const struct ctl_command *command = ctl_commands; command->name; command++)
        write_options(out, command);
    fputs("        \"backup\"* | \"restore\"*) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
          "    esac\n"
          "    COMPREPLY=($(compgen -W \"$found\" -- \"$word\"))\n"
          "}\n"
          "complete -F _xylemctl xylemctl\n",
          out);
}
