#!/bin/bash
#SBATCH -n 2
work() {
    step=$(cat state-$1 2>/dev/null || echo 0)
    trap 'asked=1' TERM
    while [ "$step" -lt 8 ]; do
        sleep 0.5
        step=$((step + 1))
        echo $step >state-$1
        [ -z "$asked" ] || exit 3
    done
    echo ended >result-$1
}
trap 'asked=1; kill $(jobs -p)' USR1
work a &
work b &
wait
wait
[ -z "$asked" ] || [ -e result-a -a -e result-b ] || exit 3
