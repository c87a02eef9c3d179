#!/bin/bash
#SBATCH -o out.log -t 5
# The shell waits for a program that handles the signal, and ends as that does.
cat >work.py <<'PYTHON'
import os, signal, sys, time
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
step = int(open("state").read()) if os.path.exists("state") else 0
while step < 8:
    time.sleep(0.5)
    step += 1
    print("step", step, flush=True)
    open("state", "w").write(str(step))
    if asked:
        sys.exit(3)
PYTHON
echo "begins" >/dev/null
python3 work.py || exit
echo "all done" >result
