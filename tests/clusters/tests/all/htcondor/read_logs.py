"""What HTCondor's own reader makes of event logs that are cut off after so many bytes.

Standard input: a line for each log, its path and the lengths, as a JSON list. Standard output: a line
for each length, `{"log": PATH, "length": N, "events": [...]}`, in any order. At a half-written event
the reader waits a second, and there are thousands: many processes read at once.
"""

import json
import os
import re
import sys
import tempfile

import htcondor2

READERS = 96


def event(it):
    """As `cu_scheduler::htcondor::told` writes it."""
    told = {"type": int(it.type), "cluster": it.cluster, "proc": it.proc}
    kind = told["type"]
    if kind == 0:
        told["name"] = it.get("LogNotes")
    elif kind == 1:
        slot, address = it.get("SlotName"), it.get("ExecuteHost", "")
        told["host"] = slot.rpartition("@")[2] if slot else re.match("<([^?>]*)", address)[1]
    elif kind in (4, 5):
        if kind == 5 or it["TerminatedAndRequeued"]:
            told["code"] = it.get("ReturnValue")
            told["signal"] = it.get("TerminatedBySignal")
        else:
            told["reason"] = it.get("Reason")
        if kind == 5:
            told["at"] = it.timestamp
    elif kind in (9, 24):
        told["reason"] = it.get("Reason")
    elif kind == 12:
        told["reason"] = it["HoldReason"]
        told["hold_code"] = it["HoldReasonCode"]
        told["hold_subcode"] = it["HoldReasonSubCode"]
    return {key: value for key, value in told.items() if value is not None}


def read(path):
    events = []
    with htcondor2.JobEventLog(path) as log:
        reader = log.events(stop_after=0)
        while True:
            try:
                it = next(reader)
            except StopIteration:
                break
            if it.proc >= 0:  # else of a whole cluster
                events.append(event(it))
    return events


def main():
    tasks = []
    for line in sys.stdin:
        path, lengths = json.loads(line)
        with open(path, "rb") as file:
            content = file.read()
        tasks += [(path, length, content) for length in lengths]
    readers = []
    for number in range(READERS):
        if os.fork() == 0:
            with tempfile.NamedTemporaryFile() as part:
                for path, length, content in tasks[number::READERS]:
                    part.truncate(0)
                    os.pwrite(part.fileno(), content[:length], 0)
                    told = {"log": path, "length": length, "events": read(part.name)}
                    # One write for a line, so that lines of several processes do not mix.
                    os.write(1, (json.dumps(told) + "\n").encode())
            os._exit(0)
        readers.append(number)
    failed = [status for _, status in (os.wait() for _ in readers) if status != 0]
    sys.exit(len(failed) > 0)


main()
