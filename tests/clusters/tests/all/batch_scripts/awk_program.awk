#!/usr/bin/awk -f
#SBATCH -J awk
BEGIN {
    step = 0
    if ((getline line < "state") > 0) step = line
    close("state")
    while (step < 8) {
        system("sleep 0.5")
        step++
        print step > "state.new"
        close("state.new")
        system("mv state.new state")
    }
    print ENVIRON["SLURM_JOB_NAME"] > "result"
}
