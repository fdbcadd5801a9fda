"""What counts of a function's code, and what the code reads by name from outside.

Lines and files do not count: a function written twice is one function.
"""

import dis
import functools
import hashlib
import types
from typing import NamedTuple

from ._reader import Reader

_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"})


class Code(NamedTuple):
    """What counts of a function's code and of the code within: the rest is where it stands."""

    content: bytes
    globals: tuple[str, ...]
    attributes: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def code_of(code: types.CodeType) -> Code:
    """What counts of a code object: a function of it alone, hence remembered."""
    within = [code_of(x) for x in code.co_consts if isinstance(x, types.CodeType)]
    constants = Reader(lambda _: False, _constant)
    constants.each(code.co_consts)
    signature = (code.co_name, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    steps = (code.co_code, code.co_exceptiontable, code.co_flags)
    content = repr((signature, names, steps, constants.parts))
    # By name, for other releases of Python have other instructions.
    read = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    own = [name for step, name in read if step in _GLOBALS]
    attributes = [name for step, name in read if step in _ATTRIBUTES]
    return Code(
        hashlib.blake2b(content.encode(), digest_size=16).digest(),
        tuple(dict.fromkeys([*own, *(name for x in within for name in x.globals)])),
        tuple(dict.fromkeys([*attributes, *(name for x in within for name in x.attributes)])),
    )


def _constant(value: object, reader: Reader) -> None:
    if isinstance(value, types.CodeType):
        reader.parts.append(("code", code_of(value).content))
    elif isinstance(value, frozenset):
        reader.unordered(value)
    else:
        reader.parts.append(("constant", repr(value)))
