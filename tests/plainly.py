"""What a user reads who passes something of the wrong kind.

The import hook of the tests checks annotations before our own code sees the arguments, so that
these calls are made in one fresh interpreter without it.
"""

import json
import subprocess
import sys
from collections.abc import Iterable

_PROGRAM = """
import json, sys
setup, calls = json.load(sys.stdin)
names = {}
exec(setup, names)
told = {}
for call in calls:
    try:
        eval(call, names)
    except Exception as error:
        told[call] = [type(error).__name__, str(error)]
    else:
        told[call] = ["nothing", ""]
json.dump(told, sys.stdout)
"""


def told(setup: str, calls: Iterable[str]) -> dict[str, tuple[str, str]]:
    """For each expression, evaluated after `setup`: the type and the text of what it raises."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([setup, list(calls)]),
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise RuntimeError(process.stderr)
    return {call: (kind, text) for call, (kind, text) in json.loads(process.stdout).items()}
