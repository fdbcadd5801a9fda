"""The command line: `dagrax describe package.module:make_pipeline`.

What is asked for stands in `_arguments`, whose pipeline it is in `_target`, what a command does in
`_commands`, how a fault is told in `_told`. It computes nothing that a method would not.
"""

import contextlib
import json
import sys
from collections.abc import Sequence

from ._arguments import Asked, parsed
from ._commands import COMMANDS
from ._target import made
from ._told import FAULT, Usage, tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 where all is well, 1 for a fault of the pipeline, 2 for a usage that
    is wrong."""
    asked = parsed(sys.argv[1:] if arguments is None else list(arguments))
    try:
        return _run(asked)
    except Usage as error:
        return tell(error, traceback=asked.traceback)
    except Exception as error:  # of the user's code: whatever it is, it is told without ours
        return tell(error, traceback=asked.traceback)


def _run(asked: Asked) -> int:
    # What a user's code prints is no part of what is read by a program.
    aside = contextlib.redirect_stdout(sys.stderr) if asked.json else contextlib.nullcontext()
    with aside, made(asked.target) as pipeline:
        answer = COMMANDS[asked.command](pipeline, asked)
    print(json.dumps(answer.data, indent=2) if asked.json else answer.text)
    return 0 if answer.is_well else FAULT
