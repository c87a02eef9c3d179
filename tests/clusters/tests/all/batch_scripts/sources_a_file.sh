#!/bin/bash
#SBATCH -o out.log
cat >settings.sh <<'SETTINGS'
steps=8
save() { echo "$1" >state; }
SETTINGS
. ./settings.sh
trap 'asked=1' USR1
step=$(cat state 2>/dev/null || echo 0)
while [ "$step" -lt "$steps" ]; do
    sleep 0.5
    step=$((step + 1))
    echo "step $step"
    save $step
    [ -z "$asked" ] || exit 3
done
echo ended >result
