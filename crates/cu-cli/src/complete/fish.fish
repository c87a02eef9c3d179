# Completions of cu for fish: cu completions fish | source
function __cu_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l answer (cu complete fish -- $words "$current" 2>/dev/null)
    if string match --quiet --regex '^\tcommand ' -- "$answer[1]"
        # The words of another program are completed as that program's are.
        set -l first (string replace --regex '.* ' '' -- $answer[1])
        set -l rest
        if test $first -lt (count $words)
            set rest (string escape -- $words[(math $first + 1)..-1])
        end
        complete --do-complete (string join ' ' -- $rest "$current")
        return
    end
    string join \n -- $answer
end
complete --command cu --no-files --keep-order --arguments '(__cu_complete)'
