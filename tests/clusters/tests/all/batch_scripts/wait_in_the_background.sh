#!/bin/bash
#SBATCH --output out.log
#SBATCH --error out.log
# The usual idiom: the work in the background, so that the trap is run at once.
work() {
    local asked=
    trap 'asked=1' TERM
    step=$(cat state 2>/dev/null || echo 0)
    while [ "$step" -lt 8 ]; do
        sleep 0.5
        step=$((step + 1))
        echo "step $step"
        echo $step >state
        [ -z "$asked" ] || exit 3
    done
    echo ended >result
}
work &
child=$!
trap 'kill -TERM $child' USR1
wait $child
status=$?
while kill -0 $child 2>/dev/null; do
    wait $child
    status=$?
done
exit $status
