#!/bin/sh
# SPDX-License-Identifier: MIT
# compile.sh INCLUDE_DIR STEM: a public header compiles alone, as gnu11 (STEM.c) and as gnu++17 (STEM.cpp),
# with every C and C++ compiler found here, warnings as errors.
set -eu
include=$1 stem=$2
here=$(dirname "$0")
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
used=0
failed=0

check() { # COMPILER STANDARD FILE
    command -v "$1" >/dev/null || return 0
    used=$((used + 1))
    echo "$1 -std=$2 $3"
    # shellcheck disable=SC2086  # a list of flags
    "$1" -std="$2" $warnings -I "$include" -fsyntax-only "$here/$3" || failed=1
}

check gcc gnu11 "$stem.c"
check clang-14 gnu11 "$stem.c"
check g++ gnu++17 "$stem.cpp"
check clang++-14 gnu++17 "$stem.cpp"
if [ "$used" -lt 2 ]; then
    echo "no C and C++ compiler found: install gcc and g++, or clang-14" >&2
    exit 1
fi
exit "$failed"
