"""What counts of a function's code, and what the code reads by name from outside.

Lines and files do not count: a function written twice is one function.
"""

import dis
import functools
import hashlib
import itertools
import types
from collections.abc import Iterator
from typing import NamedTuple

from ._reader import Reader

_GLOBAL, _NAME = dis.opmap["LOAD_GLOBAL"], dis.opmap["LOAD_NAME"]
_IMPORT = dis.opmap["IMPORT_NAME"]
_LONG = dis.opmap["EXTENDED_ARG"]
_STORE_GLOBAL = dis.opmap["STORE_GLOBAL"]
_SETTING = (_STORE_GLOBAL, dis.opmap["STORE_DEREF"])
# What else is loaded by name is no name from outside; of a cell itself, nothing is read.
_OF_ITS_OWN = ("LOAD_FAST", "LOAD_CLOSURE", "LOAD_CONST", "LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER")
_ATTRIBUTES, _ADDS = ("LOAD_ATTR", "LOAD_METHOD"), ("append", "appendleft", "add", "extend")


class Named(NamedTuple):
    """A name that code has from outside: of its module, or of a function around it."""

    name: str
    is_global: bool


class Code(NamedTuple):
    """What counts of a function's code and of the code within: the rest is where it stands.

    `globals` are the names that it reads from outside, `imports` the modules that it imports;
    `names` are these and those of attributes.
    """

    content: bytes
    globals: tuple[str, ...]
    imports: tuple[str, ...]
    names: tuple[str, ...]


def code_of(code: types.CodeType) -> Code:
    """What counts of a code object."""
    within = {x: code_of(x) for x in code.co_consts if isinstance(x, types.CodeType)}
    constants = Reader(lambda _: False, functools.partial(_constant, within))
    constants.each(code.co_consts)
    signature = (code.co_name, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    steps = (code.co_code, code.co_exceptiontable, code.co_flags)
    content = repr((signature, names, steps, constants.parts)).encode()
    read = list(_read(code))
    outside, imports = ([x for is_import, x in read if is_import is kind] for kind in (False, True))
    for x in within.values():
        outside, imports = [*outside, *x.globals], [*imports, *x.imports]
    every = [*code.co_names, *(name for x in within.values() for name in x.names)]
    unique = [tuple(dict.fromkeys(names)) for names in (outside, imports, every)]
    return Code(hashlib.blake2b(content, digest_size=16).digest(), *unique)


def _read(code: types.CodeType) -> Iterator[tuple[bool, str]]:
    """The names that a code reads from outside, and whether each is imported."""
    # As `dis` tells them, which takes a hundred times as long.
    high = 0
    steps = code.co_code
    for step, low in zip(steps[::2], steps[1::2], strict=True):
        place = high | low
        high = place << 8 if step == _LONG else 0
        if step == _GLOBAL:
            yield False, code.co_names[place >> 1]
        elif step == _NAME:
            yield False, code.co_names[place]
    if _IMPORT in steps[::2]:
        yield from ((True, name) for name in _imports(code))


def _imports(code: types.CodeType) -> Iterator[str]:
    """The modules that a code imports, with a dot for each level above its own."""
    steps = [x for x in dis.get_instructions(code) if x.opcode != _LONG]
    for level, _, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opcode == _IMPORT:
            yield "." * (level.argval if isinstance(level.argval, int) else 0) + step.argval


def may_set(code: types.CodeType) -> bool:
    """Whether a code, or one within, sets a name that is not its own alone."""
    return any(step in _SETTING for step in code.co_code[::2]) or any(map(may_set, _within(code)))


def set_by(code: types.CodeType) -> tuple[set[Named], set[Named]]:
    """The names from outside that a code sets, and those that it only adds to: what they hold is
    for others, such as a count of its traces."""
    is_set, added, read = _uses(code)
    return is_set, added - read


def _uses(code: types.CodeType) -> tuple[set[Named], set[Named], set[Named]]:
    """The names that a code, and the code within, sets, adds to, and reads for anything else."""
    is_set, added, read = set[Named](), set[Named](), set[Named]()
    steps = (x for x in dis.get_instructions(code) if x.opcode != _LONG)
    for step, after in itertools.pairwise(steps):
        if step.opname.startswith("LOAD_") and not step.opname.startswith(_OF_ITS_OWN):
            adds = after.opname in _ATTRIBUTES and after.argval in _ADDS
            is_global = "GLOBAL" in step.opname or step.opcode == _NAME
            (added if adds else read).add(Named(step.argval, is_global))
        elif step.opcode in _SETTING:
            is_set.add(Named(step.argval, step.opcode == _STORE_GLOBAL))
    for inner in _within(code):
        for mine, others in zip((is_set, added, read), _uses(inner), strict=True):
            mine |= others
    own = {Named(name, False) for name in code.co_cellvars}
    return is_set - own, added - own, read - own


def _within(code: types.CodeType) -> Iterator[types.CodeType]:
    yield from (x for x in code.co_consts if isinstance(x, types.CodeType))


def _constant(within: dict[types.CodeType, Code], value: object, reader: Reader) -> None:
    if isinstance(value, types.CodeType):
        reader.parts.append(("code", within[value].content))
    elif isinstance(value, frozenset):
        reader.unordered(value)
    else:
        reader.parts.append(("constant", repr(value)))
