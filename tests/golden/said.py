"""One page, executed: the program that `tests.golden` starts, which knows no page but its code.

It reads entries from its input, the preamble first, and writes what a user would have read.
The import hook of the tests is not here, so that our own checks see the arguments first.
"""

import contextlib
import io
import json
import re
import sys
import textwrap
import traceback
import types
import warnings


def said(code: str, names: dict[str, object]) -> str:
    """What a user reads who executes this: warnings, prints, the error with its notes."""
    heard = io.StringIO()

    def warned(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        heard.write(f"{category.__name__}: {message}\n")

    with warnings.catch_warnings(), contextlib.redirect_stdout(heard):
        warnings.simplefilter("always")
        warnings.showwarning = warned
        try:
            exec(compile(code, "here.py", "exec"), names)
        except Exception as error:
            heard.write("".join(traceback.format_exception_only(error)))
    # An address is another in each run.
    return re.sub(r" at 0x[0-9a-f]+", " at 0x…", heard.getvalue().rstrip("\n")) or "nothing"


def main() -> None:
    (preamble, *_), *entries = json.load(sys.stdin)
    here = types.ModuleType("here")
    sys.modules["here"] = here
    exec(compile(textwrap.dedent(preamble), "preamble.py", "exec"), vars(here))
    read = []
    for entry in entries:
        names = dict(vars(here))
        read += [said(textwrap.dedent(code), names) for code in entry]
    json.dump(read, sys.stdout)


if __name__ == "__main__":
    main()
