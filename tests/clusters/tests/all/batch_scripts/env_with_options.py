#!/usr/bin/env -S python3 -u
#SBATCH -o out.log
import os, signal, time
class Asked(Exception):
    pass
def ask(*_):
    raise Asked
signal.signal(signal.SIGUSR1, ask)
at = tuple(map(int, open("state").read().split())) if os.path.exists("state") else (0, 0)
try:
    while at[0] < 8:
        time.sleep(0.5)
        at = (at[0] + 1, at[1] + at[0] + 1)
    signal.signal(signal.SIGUSR1, lambda *_: None)
except Asked:
    open("state", "w").write(f"{at[0]} {at[1]}")
    raise SystemExit(3)
print("the sum is", at[1])
open("result", "w").write(str(at[1]))
os.remove("state") if os.path.exists("state") else None
