"""Estimates pi by throwing darts: a job in Python, through cu_job.py.

The state of the random number generator is part of the checkpoint, so that the estimate is that of
a program which was never interrupted.
"""

import pickle
import random
import sys
from pathlib import Path

# Only for those who have not installed it: a program of your own does without this line.
sys.path.append(str(Path(__file__).resolve().parents[2] / "crates/cu-client/python"))

import cu_job

DARTS_PER_STEP = 10_000


def main() -> None:
    with cu_job.Job() as job:
        generator = random.Random(job.settings.seed)
        steps_done, inside = 0, 0
        saved = job.load_bytes()
        if saved is not None:
            steps_done, inside, generator_state = pickle.loads(saved)
            generator.setstate(generator_state)

        while steps_done < job.settings.steps:
            for _ in range(DARTS_PER_STEP):
                inside += generator.random() ** 2 + generator.random() ** 2 < 1
            steps_done += 1
            job.announce_fraction_finished(steps_done / job.settings.steps)
            if job.should_exit():
                job.save_bytes(pickle.dumps((steps_done, inside, generator.getstate())))
                job.exit_for_resume()

        darts = steps_done * DARTS_PER_STEP
        job.finalize({"pi": 4 * inside / darts, "darts": darts})


if __name__ == "__main__":
    main()
