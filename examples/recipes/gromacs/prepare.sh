#!/bin/sh
# Makes md.tpr of the topology, the parameters and the start of a simulation.
exec gmx grompp -f md.mdp -c conf.gro -p topol.top -o md.tpr
