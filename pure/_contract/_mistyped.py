"""The name of a field that is written wrong, in a stage or a step function, and the right one.

What the function is, and in which program it runs, is not known here.
"""

import os
import traceback
from collections.abc import Sequence

from jaxtyping import PyTree

from .._text import near


def mistyped_field(error: Exception, inputs: Sequence[PyTree]) -> str:
    """What a function that was given these should have written, or nothing where that is unknown.

    `there is no field `imgae` (stages.py:37). Did you mean `image`?`
    """
    fields, missing = fields_of(inputs), missing_name(error)
    if missing is not None and missing not in fields and (guess := near(missing, fields)):
        return f"there is no field `{missing}`{place(error)}.{guess}"
    if isinstance(error, AttributeError) and isinstance(error.obj, dict) and error.name in fields:
        mend = f'write ["{error.name}"] in place of .{error.name}'
        return f"the batch is a dict{place(error)}; {mend}."
    return ""


def fields_of(inputs: Sequence[PyTree]) -> list[str]:
    """The names of the fields of all inputs that are dicts."""
    names = [name for value in inputs if isinstance(value, dict) for name in value]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def missing_name(error: Exception) -> str | None:
    """The key that a dict had not, where it is a string."""
    missing = error.args[0] if isinstance(error, KeyError) and error.args else None
    return missing if isinstance(missing, str) else None


def place(error: Exception) -> str:
    """The line of the user's code in which an error was raised: ` (stages.py:37)`."""
    own = [
        (os.path.basename(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if "site-packages" not in frame.f_code.co_filename
        and not str(frame.f_globals.get("__name__")).startswith("dagrax.")
    ]
    return f" ({own[-1][0]}:{own[-1][1]})" if own else ""
