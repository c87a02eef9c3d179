#!/bin/bash
#SBATCH -o out.log
# Stages, each of which leaves a mark; the chain goes on with the stage that was broken off.
for stage in prepare train test report; do
    [ ! -e done.$stage ] || continue
    sleep 1
    echo "$stage" >$stage.new && mv $stage.new done.$stage
done
cat done.* >result
