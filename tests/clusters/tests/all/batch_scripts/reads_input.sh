#!/bin/bash
#SBATCH --input=numbers -o out.log
trap 'asked=1' USR1
done=$(cat state 2>/dev/null || echo 0)
number=0
while read -r line; do
    number=$((number + 1))
    [ "$number" -gt "$done" ] || continue
    sleep 0.5
    echo "line $line"
    echo $number >state
    [ -z "$asked" ] || exit 3
done
echo ended >result
