#!/bin/bash
#SBATCH -o out.log
trap 'asked=1' TERM INT
step=0
[ ! -e state ] || step=$(<state)
until [ "$step" -eq 8 ]; do
    sleep 0.5
    : $((step += 1))
    echo "step $step"
    echo $step >state
    if [ -n "$asked" ]; then exit 0; fi
done
echo ended >result
