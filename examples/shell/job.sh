#!/usr/bin/env bash
# Which number below a limit takes the most Collatz steps to reach 1? A job in bash. It uses `cu
# job` where other languages use a library. Needs `cu` in PATH.
set -euo pipefail

cu job started
# What it saves lies in its own output directory.
cd "$CU_OUTPUT_DIR"
limit=$(cu job settings get limit)

number=1 best=1 longest=0
if cu job checkpoint load state; then
    read -r number best longest <state
else
    [ $? -eq 1 ] # Nothing was saved yet; any other code is an error.
fi

while ((number < limit)); do
    for ((end = number + 100; number < end && number < limit; number++)); do
        for ((value = number, steps = 0; value != 1; steps++)); do
            ((value = value % 2 ? 3 * value + 1 : value / 2))
        done
        if ((steps > longest)); then
            best=$number longest=$steps
        fi
    done
    cu job progress "$(printf '%d.%03d' $((number / limit)) $((number * 1000 / limit % 1000)))"
    if cu job should-exit; then
        echo "$number $best $longest" >state
        cu job checkpoint save state
        exec cu job exit-for-resume
    fi
done

cu job finish number="$best" steps="$longest"
