# Completions of cu for bash: source <(cu completions bash)
_cu() {
    local -a answer
    mapfile -t answer < <(cu complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    if [[ ${answer[0]-} == $'\tcommand '* ]]; then
        # The words of another program are completed as that program's are.
        local at
        for ((at = 1; at < COMP_CWORD; at++)); do
            case ${COMP_WORDS[at]} in
            --) ((at++)) && break ;;
            sbatch | condor-submit) break ;;
            esac
        done
        if declare -F _command_offset >/dev/null; then
            _command_offset "$at"
        else
            ((COMP_CWORD > at)) || mapfile -t COMPREPLY < <(compgen -c -- "$2")
            compopt -o default 2>/dev/null
        fi
        return
    fi
    COMPREPLY=("${answer[@]}")
    # More is to follow these.
    [[ ${COMPREPLY[0]-} != *[=/] ]] || compopt -o nospace 2>/dev/null
}
complete -o nosort -F _cu cu 2>/dev/null || complete -F _cu cu
