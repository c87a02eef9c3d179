"""Looks for the minimum of a parabola in two attempts. Written for the Python package cluster_utils; `cu`
runs it as it is."""

import json
import pathlib

from cluster_utils import (
    announce_early_results,
    announce_fraction_finished,
    exit_for_resume,
    finalize_job,
    initialize_job,
)


def main() -> None:
    params = initialize_job()
    saved = pathlib.Path(params.working_dir, "saved.json")
    state = {"step": 0, "x": 4.0}
    if saved.exists():
        state = json.loads(saved.read_text())
    begin = state["step"]
    while state["step"] < params.steps:
        state["x"] -= params.model.rate * 2 * state["x"] * 0.1
        state["step"] += 1
        if state["step"] % 50 == 0:
            announce_early_results({"loss": state["x"] ** 2})
            announce_fraction_finished(state["step"] / params.steps)
        if state["step"] == begin + params.steps_per_attempt < params.steps:
            saved.write_text(json.dumps(state))
            exit_for_resume()
    finalize_job({"loss": state["x"] ** 2, "steps": state["step"]}, params)


if __name__ == "__main__":
    main()
