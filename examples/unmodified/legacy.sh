#!/usr/bin/env bash
# A program that was written before anyone thought of `cu`. It adds up the digits of all numbers up
# to 2000 times its argument. On SIGTERM it finishes its step, writes state.txt and exits with 3;
# started again beside that file, it continues.
set -eu
steps=${1:-400}

stop=no
trap 'stop=yes' TERM

step=0 sum=0
if [ -e state.txt ]; then
    read -r step sum <state.txt
    echo "going on after step $step"
fi
while ((step < steps)); do
    for ((number = 2000 * step + 1; number <= 2000 * (step + 1); number++)); do
        for ((rest = number; rest > 0; rest /= 10)); do
            ((sum += rest % 10))
        done
    done
    step=$((step + 1))
    if [ $stop = yes ]; then
        trap '' TERM # Nothing is to interrupt the writing.
        echo "$step $sum" >state.txt.new
        mv state.txt.new state.txt
        exit 3
    fi
done
echo "$sum" >result.txt
