"""Counts until a signal warns of the time limit, and goes on in the next attempt: through cu_job.py, which
notes the signal."""

import sys
import time
from pathlib import Path

# Only for those who have not installed it: a program of your own does without this line.
sys.path.append(str(Path(__file__).resolve().parents[2] / "crates/cu-client/python"))

import cu_job


def main() -> None:
    with cu_job.Job() as job:
        saved = job.load_bytes()
        iteration = int(saved) if saved is not None else 0
        while iteration < job.settings.iterations:
            with open(job.output_dir / "iterations.txt", "a") as file:
                file.write(f"{iteration}\n")
            time.sleep(job.settings.seconds)
            iteration += 1
            if job.should_exit() and iteration < job.settings.iterations:
                job.save_bytes(str(iteration).encode())
                job.exit_for_resume()
        job.finalize({"iterations": iteration})


if __name__ == "__main__":
    main()
