#!/bin/bash
#SBATCH -n 1 -o out.log -e /dev/null
#SBATCH --signal=USR1@30 --time=5
cat >work.sh <<'WORK'
trap 'asked=1' USR1
step=$(cat state 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.5
    step=$((step + 1))
    echo "step $step on task $SLURM_PROCID"
    echo $step >state
    [ -z "$asked" ] || exit 3
done
echo ended >result
WORK
srun bash work.sh
