#!/bin/bash
# A job that asks to be resumed RESUMES times. It counts its attempts in the directory PLACE, with their times.
# It speaks to cluster_utils by the datagrams of that package, to all others by its exit code alone.
began=$EPOCHREALTIME
job=${CU_JOB_ID:-$1}
for word; do
    case $word in
    --job-id=*) job=${word#*=} ;;
    --cluster-utils-server=*) server=${word#*=} ;;
    esac
done
# Pickled by hand. A line feed would end a datagram, so that job 10 calls itself 10.0.
say() { [ -z "$server" ] || printf "$1" >"/dev/udp/${server%:*}/${server#*:}"; }
if [ "$job" = 10 ]; then
    number='G\x40\x24\0\0\0\0\0\0'
else
    printf -v number 'K\\x%02x' "$job"
fi
say "K\\x00${number}U\\x02n1\\x86\\x86."
attempts=()
[ ! -e "$PLACE/$job" ] || mapfile -t attempts <"$PLACE/$job"
echo "$began $EPOCHREALTIME" >>"$PLACE/$job"
# Without a change in its directory `cu` would take it for stuck.
: >progress
if [ "${#attempts[@]}" -lt "$RESUMES" ]; then
    say "K\\x04${number}\\x85\\x86."
    [ -z "$AGAIN" ] || $AGAIN "$0" "$job" >/dev/null
    exit 3
fi
say "K\\x02${number}}U\\x01xG\\x3f\\xf0\\0\\0\\0\\0\\0\\0s\\x86\\x86."
say "K\\x03${number}\\x85\\x86."
