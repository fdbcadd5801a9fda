"""The command line: `dagrax describe package.module:make_pipeline`.

What is asked for stands in `_arguments`, whose pipeline it is in `_target`, what a command does in
`_commands`, how a fault is told in `_told`. It computes nothing that a method would not.
"""

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

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
    except Exception as error:  # of the user's code: whatever it is, it is told without ours
        return tell(_unwritable(error, asked.path) or error, traceback=asked.traceback)
    except SystemExit as error:
        return tell(_ended(error, asked.target), traceback=asked.traceback)


def _unwritable(error: Exception, path: str | None) -> Usage | None:
    # Other files are the user's own, and their faults too.
    if path is None or not isinstance(error, OSError) or error.filename is None:
        return None
    if Path(os.fsdecode(error.filename)).absolute() != Path(path).absolute():
        return None
    folder, reason = Path(path).parent, (error.strerror or type(error).__name__).lower()
    mend = "write to another." if folder.is_dir() else f"there is no folder `{folder}`: make it."
    return Usage(f"`{path}` cannot be written ({reason}); {mend}")


def _ended(error: SystemExit, target: str) -> Exception:
    told = RuntimeError(
        f"the code of `{target}` ended the program by SystemExit({error.code!r}); let it return, "
        "or raise an error that says what is wrong."
    )
    told.__cause__ = error
    return told


def _run(asked: Asked) -> int:
    # What a user's code prints is no part of what is read by a program.
    aside = contextlib.redirect_stdout(sys.stderr) if asked.json else contextlib.nullcontext()
    with aside, made(asked.target) as pipeline:
        answer = COMMANDS[asked.command](pipeline, asked)
    print(json.dumps(answer.data, indent=2) if asked.json else answer.text)
    return 0 if answer.is_well else FAULT
