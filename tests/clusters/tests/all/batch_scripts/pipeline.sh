#!/bin/bash
#SBATCH -o out.log
set -o pipefail
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
open("result", "w").write("ended")
PYTHON
python3 work.py | tee -a steps
