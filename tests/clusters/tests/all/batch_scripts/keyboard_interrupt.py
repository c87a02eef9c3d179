#!/usr/bin/python3
#SBATCH --output=out.log --signal=INT@30 -t 5
import os, signal, sys, time
# One assignment a step: the exception comes before it or behind it.
at = tuple(map(int, open("state").read().split())) if os.path.exists("state") else (0, 0)
try:
    while at[0] < 8:
        time.sleep(0.5)
        at = (at[0] + 1, at[1] + at[0] + 1)
    signal.signal(signal.SIGINT, lambda *_: None)
except KeyboardInterrupt:
    open("state", "w").write(f"{at[0]} {at[1]}")
    sys.exit(3)
open("result", "w").write(str(at[1]))
os.remove("state") if os.path.exists("state") else None
