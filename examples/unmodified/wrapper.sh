#!/bin/sh
# A wrapper as on many clusters: commands before the program, the program, commands after it. It
# does not `exec` the program, and handles no signals.
export LC_ALL=C
"$(dirname "$0")/legacy.sh" "$@"
status=$?
echo "legacy.sh has ended with exit code $status"
exit $status
