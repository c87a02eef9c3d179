#compdef cu
# Completions of cu for zsh: source <(cu completions zsh) after compinit, or a file _cu in a directory of fpath.
_cu() {
    local -a answer whole begun
    local line value
    answer=("${(@f)$(cu complete zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)IPREFIX}${(Q)PREFIX}" 2>/dev/null)}")
    if [[ $answer[1] == $'\tcommand '* ]]; then
        # The words of another program are completed as that program's are.
        integer first=${answer[1]##* }
        shift $first words
        (( CURRENT -= first ))
        _normal
        return
    fi
    for line in $answer; do
        value=${line%%$'\t'*}
        line=${${value//\\/\\\\}//:/\\:}${${line#"$value"}/#$'\t'/:}
        # More is to follow some.
        if [[ $value == *[=/] ]]; then begun+=("$line"); else whole+=("$line"); fi
    done
    (( ! $#whole )) || _describe -V 'values' whole -Q
    (( ! $#begun )) || _describe -V 'values' begun -Q -S ''
}
if [[ $funcstack[1] == _cu ]]; then
    _cu "$@"
else
    compdef _cu cu
fi
