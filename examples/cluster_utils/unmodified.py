"""Runs a program for the Python package cluster_utils as a job of `cu`, without a change to it.

    command = ["python3", "unmodified.py", "main.py"]

Needs cluster_utils and cu_job. Results, resumes and failures arrive; early results, progress and
tracebacks don't. docs/cluster_utils.md has more.
"""

import csv
import os
import subprocess
import sys

import cu_job


def main() -> None:
    output, job_id = os.environ["CU_OUTPUT_DIR"], os.environ["CU_JOB_ID"]
    metrics = os.path.join(output, "metrics.csv")
    before = version(metrics)
    program = subprocess.run(
        [
            sys.executable,
            *sys.argv[1:],
            # Nobody listens there. Without an address exit_for_resume would do nothing.
            f"--job-id={job_id}",
            "--cluster-utils-server=127.0.0.1:9",
            os.environ["CU_SETTINGS"],
            f"working_dir={output!r}",
            f"id={job_id}",
        ]
    )
    if program.returncode != 0:  # 3 asks to be resumed, from them as from us
        sys.exit(program.returncode if program.returncode > 0 else 128 - program.returncode)
    if version(metrics) == before:
        sys.exit(f"{sys.argv[1]} ended without results: it must call finalize_job")
    with open(metrics, newline="") as file:
        results = next(csv.DictReader(file))
    cu_job.Job().finalize({name: number_or_text(text) for name, text in results.items()})


def version(path):
    """Changes whenever the file is written."""
    if not os.path.exists(path):
        return None
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns, status.st_size


def number_or_text(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


if __name__ == "__main__":
    main()
