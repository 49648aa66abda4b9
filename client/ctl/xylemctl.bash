# SPDX-License-Identifier: MIT
# Completion of xylemctl for bash; what `xylemctl completion` prints.
_xylemctl() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
    local line="" found="--json --socket --help" at
    case "$before" in
        --socket) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "${COMP_WORDS[at]}" in
            --json | --help) ;;
            --socket) ((at++)) ;;
            *) line="${line:+$line }${COMP_WORDS[at]}" ;;
        esac
    done
    case "$line" in
        "") found="$found --version status roots leaf leaves renew authorize intention revoke unrevoke revocations rotate ca clients regions watch top backup restore log version completion" ;;
        intention) found="list add delete check match" ;;
        ca) found="show set crl" ;;
        regions) found=" supersede" ;;
        log) found="level" ;;
        "roots"*) found="$found --pem" ;;
        "leaf"*) found="$found --pem --der --key" ;;
        "intention add"*) found="$found --description --dry-run" ;;
        "intention delete"*) found="$found --dry-run" ;;
        "revoke"*) found="$found --reason --expires" ;;
        "rotate"*) found="$found --force" ;;
        "top"*) found="$found --interval --count" ;;
        "backup"* | "restore"*) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    COMPREPLY=($(compgen -W "$found" -- "$word"))
}
complete -F _xylemctl xylemctl
