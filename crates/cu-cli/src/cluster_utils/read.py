# Prints the config that the first argument names as JSON, as smart_settings reads it. Exit code 10: it is not
# installed here. Exit code 11: it can't read the config; the reason is on stderr.
import json
import math
import os
import sys

try:
    import smart_settings
except ImportError:
    sys.exit(10)

# What the config prints is not meant for us.
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(11)


def plain(value, key):
    if isinstance(value, dict):
        return {str(name): plain(inner, f"{key}.{name}" if key else str(name)) for name, inner in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(inner, key) for inner in value]
    if type(value).__module__ == "numpy":
        return plain(value.tolist(), key)
    if isinstance(value, float) and not math.isfinite(value):
        fail(f"`{key}`: jobs of cluster_utils can't be given {value}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    fail(f"`{key}`: jobs can't be given a value of the type {type(value).__name__}")


try:
    settings = smart_settings.load(sys.argv[1], make_immutable=False)
except Exception as error:
    fail(f"{type(error).__name__}: {error}")
json.dump(plain(settings, ""), out)
out.flush()
