#!/bin/bash
#SBATCH --ntasks=2 --signal=USR1@30 -t5
cat >work.sh <<'WORK'
trap 'asked=1' USR1
mine=state-$SLURM_PROCID
step=$(cat $mine 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.5
    step=$((step + 1))
    echo $step >$mine
    [ -z "$asked" ] || exit 3
done
echo ended >result-$SLURM_PROCID
WORK
srun --kill-on-bad-exit=0 bash work.sh
