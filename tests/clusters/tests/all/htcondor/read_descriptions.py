"""What HTCondor's own class for submit descriptions makes of them, without a pool.

Standard input: a JSON list of descriptions. Standard output: a JSON list with, for each, its commands
with all that is pasted into them but items, and its items.
"""

import json
import sys

import htcondor2


def read(text):
    description = htcondor2.Submit(text)
    # What an item is pasted into can't be expanded without one.
    commands = {
        key: value if "$(cu_name)" in value else description.expand(key)
        for key, value in description.items()
    }
    return {"commands": commands, "items": list(description.itemdata())}


json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)
