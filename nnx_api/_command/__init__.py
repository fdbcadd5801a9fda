"""The command line: `dagrax describe package.module:make_pipeline`.

What is asked for stands in `_arguments`, whose pipeline it is in `_target`, what a command does in
`_commands`, how a fault is told in `_told`. It computes nothing that a method would not.
"""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ._arguments import Asked, parsed
from ._commands import COMMANDS, Answer
from ._target import made
from ._told import FAULT, Usage, tell, unprinted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 where all is well, 1 for a fault of the pipeline, 2 for a usage that
    is wrong, and what a shell has for what was interrupted (130), or is read no more (141)."""
    try:
        try:
            return _answered(arguments)
        finally:
            _flush()
    except OSError as error:  # of the output: all others are told
        return unprinted(error)


def _answered(arguments: Sequence[str] | None) -> int:
    asked = parsed(sys.argv[1:] if arguments is None else list(arguments))
    try:
        answer = _run(asked)
    except Exception as error:  # of the user's code: whatever it is, it is told without ours
        _flush()  # if it is that of a print
        return tell(_unwritable(error, asked.path) or error, traceback=asked.traceback)
    except KeyboardInterrupt as error:
        return tell(error, traceback=asked.traceback)
    except SystemExit as error:
        return tell(_ended(error, asked.target), traceback=asked.traceback)
    print(json.dumps(answer.data, indent=2) if asked.json else answer.text)
    return 0 if answer.is_well else FAULT


def _flush() -> None:
    print(end="", flush=True)


def _unwritable(error: Exception, path: str | None) -> Usage | None:
    # Other files are the user's own, and their faults too.
    if path is None or not isinstance(error, OSError):
        return None
    is_own = str(error).startswith(f"`{Path(path)}` cannot be written")
    return Usage(str(error)) if is_own else None


def _ended(error: SystemExit, target: str) -> Exception:
    told = RuntimeError(
        f"the code of `{target}` ended the program by SystemExit({error.code!r}); let it return, "
        "or raise an error that says what is wrong."
    )
    told.__cause__ = error
    return told


def _run(asked: Asked) -> Answer:
    # What a user's code prints is no part of what is read by a program.
    aside = contextlib.redirect_stdout(sys.stderr) if asked.json else contextlib.nullcontext()
    with aside, made(asked.target) as pipeline:
        return COMMANDS[asked.command](pipeline, asked)
