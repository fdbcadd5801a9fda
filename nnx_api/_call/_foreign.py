"""What a program would keep as a constant although a user may change it: refused, by its place.

Judged by what was traced, not by names: an array among the constants of a program that is the
value of a Variable outside of its modules was read from there. How one is reached is looked for
only where a program has constants.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Set

import jax
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr

from ._inside import BY_A_MODULE, inside
from ._parts import Parts, raw

_MOST = 100_000  # objects that are looked through for Variables


def refuse_foreign(
    program: ClosedJaxpr, parts: Parts, places: Mapping[str, tuple[object, str]]
) -> None:
    """Refuse a traced program that has read a Variable which is no part of its modules.

    `places` are what its functions can be reached from, by the words for them, each with what
    mends it. **Errors:** ValueError with a line for each such Variable.
    """
    constants = {id(x) for x in _constants(program, set()) if isinstance(x, jax.Array)}
    aside = {id(x) for x in parts.leaves}
    lines: dict[str, str] = {}
    for place, (root, mend) in places.items() if constants else ():
        ways = _ways(root, constants, aside)
        aside |= ways.keys()
        lines |= {f"\n  - {place}: {way}": mend for way in ways.values()}
    if lines:  # a Variable that no way leads to only shares an array that was closed over
        raise ValueError(
            "A Variable that is no part of the pipeline would become a constant of the compiled "
            f"program, which later changes of it would not reach:{''.join(lines)}\n"
            f"{' '.join(dict.fromkeys(lines.values()))}"
        )


def _constants(program: object, seen: set[int]) -> Iterator[object]:
    if id(program) in seen:
        return
    seen.add(id(program))
    if isinstance(program, ClosedJaxpr):  # which every Jaxpr is from jax 0.11 on
        yield from program.consts
    if isinstance(program, ClosedJaxpr | Jaxpr):
        for equation in program.eqns:
            for value in equation.params.values():
                yield from _constants(value, seen)
    elif isinstance(program, tuple | list):
        for value in program:
            yield from _constants(value, seen)


def _ways(root: object, constants: Set[int], aside: Set[int]) -> dict[int, str]:
    """The shortest way from an object to each Variable that it reaches whose value is one of the
    arrays, or holds it in containers, in words; but for those that are left aside.

    One whose arrays are reached by themselves too was not read: they were closed over.
    """
    ways: dict[int, tuple[str, set[int]]] = {}
    known: set[int] = set()
    queue: deque[tuple[object, str, str, bool]] = deque([(root, "self", "", False)])
    while queue and len(known) < _MOST:
        value, text, how, is_said = queue.popleft()
        if id(value) in known:
            continue
        known.add(id(value))
        if isinstance(value, nnx.Variable) and id(value) not in aside:
            arrays = {id(x) for x in jax.tree.leaves(raw(value))}
            said = f", {how}" if how else ""
            if arrays & constants:
                ways[id(value)] = f"`{text}` ({type(value).__name__}){said}", arrays
        # What holds the module is said, not how that holds its own.
        is_said |= isinstance(value, nnx.Pytree) and how not in ("", BY_A_MODULE)
        for step in inside(value):
            named = step.text.startswith(" ")
            below = step.text.strip() if named else text + step.text
            queue.append((step.value, below, how if is_said else step.how, is_said))
    closed_over = known & constants
    return {x: way for x, (way, arrays) in ways.items() if not closed_over.issuperset(arrays)}
