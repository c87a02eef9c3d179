#!/bin/sh
# As many clusters have it: something before the program, the program, something after it. The
# program is no `exec`, and signals are nobody's business here.
export LC_ALL=C
"$(dirname "$0")/legacy.sh" "$@"
status=$?
echo "legacy.sh has ended with exit code $status"
exit $status
