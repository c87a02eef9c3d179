#!/bin/bash
#SBATCH -o out.log
cat >work.sh <<'WORK'
trap 'asked=1' USR1
step=$(cat state 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.5
    step=$((step + 1))
    echo "step $step"
    echo $step >state
    [ -z "$asked" ] || exit 3
done
echo ended >result
WORK
timeout 100 bash work.sh
