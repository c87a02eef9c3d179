#!/bin/sh
# Makes the mesh.
export WM_PROJECT_DIR=/usr/share/openfoam
exec blockMesh
