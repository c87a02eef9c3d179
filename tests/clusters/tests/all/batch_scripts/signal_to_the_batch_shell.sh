#!/bin/bash
#SBATCH --signal=B:USR2@20
#SBATCH --time=00:05:00
#SBATCH -o out.log
trap 'echo saves >/dev/null; asked=1' USR2
for ((step = $(cat state 2>/dev/null || echo 0); step < 8; )); do
    sleep 0.5
    echo "step $((++step))"
    echo $step >state
    [ -z "$asked" ] || exit 3
done
echo ended >result
