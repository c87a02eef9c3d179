#!/bin/bash
#SBATCH --ntasks=1
#SBATCH -c 1
#SBATCH --mem-per-cpu 30M
#SBATCH --nice=0
#SBATCH -C small
##SBATCH --time=1
# A comment between them.
#SBATCH --no-kill
#SBATCH -o out.log
trap 'asked=1' USR1
step=$(cat state 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.5
    step=$((step + 1))
    echo "step $step on $SLURM_CPUS_ON_NODE processor with $SLURM_MEM_PER_CPU"
    echo $step >state
    [ -z "$asked" ] || exit 3
done
echo ended >result
