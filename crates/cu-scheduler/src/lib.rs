//! Submit, watch and cancel commands on Slurm, HTCondor or this machine, behind one trait.
