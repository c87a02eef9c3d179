# Loads modules, sources a script, and writes the variables that are there then. Run by bash with these
# arguments: the number of the descriptor to write to, the script or nothing, the modules.
cu_report=$1 cu_script=$2
shift 2
if [ $# -gt 0 ]; then
    if ! type module >/dev/null 2>&1; then
        printf 'no module command\0' >&"$cu_report"
        exit 1
    fi
    printf 'modules\0' >&"$cu_report"
    module load "$@" || exit
    set --
fi
if [ -n "$cu_script" ]; then
    printf 'script\0' >&"$cu_report"
    . "$cu_script" || exit
fi
printf 'variables\0' >&"$cu_report"
exec /usr/bin/env -0 >&"$cu_report"
