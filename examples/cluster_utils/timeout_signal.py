"""Counts until a signal warns of the time limit, and goes on in the next attempt. Written for the Python
package cluster_utils; `cu` runs it as it is."""

import pathlib
import signal
import time

is_warned = False


def note_the_warning(number, frame) -> None:
    global is_warned
    is_warned = True


# Before the imports, which may take seconds on a busy file system.
signal.signal(signal.SIGUSR1, note_the_warning)

from cluster_utils import exit_for_resume, finalize_job, initialize_job  # noqa: E402


def main() -> None:
    params = initialize_job()
    directory = pathlib.Path(params.working_dir)
    saved = directory / "next.txt"
    iteration = int(saved.read_text()) if saved.exists() else 0
    while iteration < params.iterations:
        with open(directory / "iterations.txt", "a") as file:
            file.write(f"{iteration}\n")
        time.sleep(params.seconds)
        iteration += 1
        if is_warned and iteration < params.iterations:
            saved.write_text(str(iteration))
            exit_for_resume()
    finalize_job({"iterations": iteration}, params)


if __name__ == "__main__":
    main()
