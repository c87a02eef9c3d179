#!/bin/bash
#SBATCH --job-name="a flag"
#SBATCH --output=out.log --time=5
trap 'asked=1' USR1
step=$(cat state 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.5
    step=$((step + 1))
    echo "step $step in $SLURM_JOB_NAME with $*"
    echo "odd $step" >&2
    echo $step >state
    [ -z "$asked" ] || exit 3
done
echo "$SLURM_NTASKS ${0##*/} $(cd "$SLURM_SUBMIT_DIR" && ls -d state)" >result
