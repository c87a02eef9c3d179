#!/bin/bash
#SBATCH -o out.log
scratch=/tmp/scratch-$SLURM_JOB_ID-$$
mkdir -p "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'asked=1' USR1
[ ! -e state ] || cp state "$scratch/state"
step=$(cat "$scratch/state" 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.5
    step=$((step + 1))
    echo "step $step"
    echo $step >"$scratch/state"
    cp "$scratch/state" state
    [ -z "$asked" ] || exit 3
done
echo ended >result
