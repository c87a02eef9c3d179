"""Lets the cross-entropy method of the package cluster_utils answer on standard output, one JSON value a line.

A line of input with a seed and the parameters begins a search. Then each line is either `null`, answered by the values of
the next trial, or an object with such values and what came of them, answered by nothing. Importing pandas takes as long
as a hundred trials, so that one process serves for several searches.
"""

import json
import random
import sys
import warnings

warnings.simplefilter("ignore")

import numpy
import pandas
from cluster_utils.server import distributions, optimizers


class Ended:
    """A job that has ended, as the optimizer looks at it."""

    def __init__(self, values, result):
        self.frame = pandas.DataFrame([{**values, "result": result}])
        self.parameters = tuple(sorted(values))

    def get_results(self):
        return self.frame, self.parameters, ("result",)


def begin(setup):
    random.seed(setup["seed"])
    numpy.random.seed(setup["seed"])
    parameters = [
        getattr(distributions, kind)(param=name, **options)
        for name, kind, options in setup["parameters"]
    ]
    return optimizers.Metaoptimizer(
        metric_to_optimize="result",
        minimize=True,
        report_hooks=[],
        number_of_samples=setup["trials"],
        optimized_params=parameters,
        num_jobs_in_elite=setup["elite_size"],
        with_restarts=False,
    )


def main():
    optimizer = None
    for line in sys.stdin:
        message = json.loads(line)
        if message is None:
            values = optimizer.ask()
            values = {name: getattr(value, "item", lambda: value)() for name, value in values.items()}
            print(json.dumps(values), flush=True)
        elif "seed" in message:
            optimizer = begin(message)
        else:
            optimizer.tell([Ended(message["values"], message["result"])])


main()
