#!/bin/bash
#SBATCH --export=MINE,OTHER="a b" --output=out.log
trap 'asked=1' USR1
step=$(cat state 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.5
    step=$((step + 1))
    echo "step $step, ${MINE:-unset}, ${OTHER:-unset}, ${THIRD:-unset}"
    echo $step >state
    [ -z "$asked" ] || exit 3
done
echo ended >result
