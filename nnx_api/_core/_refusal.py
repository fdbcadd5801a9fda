"""What a checked program has found, as it is told: in which step of a loop, and how the variant in
which it is so differs from another.

Where a NaN comes from stands in `dagrax.pure`; what is compiled is not known here.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from dagrax.pure import internal

from .._call._parts import Parts, Path, Values
from .._call._programs import Refuse
from .._records import Position, Records
from ._module import PipelineCore

_MOST = 4  # places that are written out


class Refusal:
    """Refuses what a program has found of modules that were taken apart: of a pipeline, or of one
    with the modules of a loop. `steps` is how many the loop has run before the program."""

    def __init__(self, parts: Parts, pipeline: PipelineCore[Any, Any]):
        self._parts = parts
        self._variants: tuple[int, ...] = jnp.shape(pipeline._seed.get_raw_value())
        self.steps = 0

    def __call__(self, error: checkify.Error, values: Values) -> None:
        """**Errors:** ValueError with what was found."""
        found: Any = error.get_exception()
        if found is None:
            return
        numbers = getattr(found, "kwargs", {})
        if "word0" in numbers:  # of those that the core tells, not of a check of the user's
            found.kwargs = {**numbers, "step": numbers["step"] + self.steps}
        said = str(found).removesuffix(" (`check` failed)")
        raise ValueError(said + self._apart(numbers, values))

    def _apart(self, numbers: dict[str, Any], values: Values) -> str:
        if "variants" not in numbers:
            return ""
        every = int(np.prod(self._variants))
        if int(numbers["variants"]) == every:
            return f" It is so in each of the {every} variants." if every > 1 else ""
        if len(self._variants) > 1:
            return ""
        # As against the first; of the first, the second as against it.
        index = int(numbers["variant0"]) or 1
        unlike = list(self._differences(index, values))
        more = f"\n  - … and {len(unlike) - _MOST} more." if len(unlike) > _MOST else ""
        return internal.told_apart((index, x) for x in unlike[:_MOST]) + more

    def _differences(self, index: int, values: Values) -> Iterator[tuple[str, str, str]]:
        for path, leaf, value in zip(self._parts.paths, self._parts.leaves, values, strict=True):
            for name, x in internal.spelt_leaves(spelt(path), value).items():
                is_number = jnp.shape(x) == self._variants and not is_key(x)
                if isinstance(leaf, Records | Position) or not is_number:
                    continue
                one, other = (_short(np.asarray(x)[i]) for i in (0, index))
                if one != other:
                    yield name, one, other


def refusal_of(parts: Parts, pipeline: PipelineCore[Any, Any]) -> Refusal | None:
    """What refuses what is found of a pipeline, where it is checked."""
    return Refusal(parts, pipeline) if pipeline._is_checked else None


def count_from(refuse: Refuse | None, steps: int) -> None:
    """Say that a loop has run so many steps before its next program."""
    if isinstance(refuse, Refusal):
        refuse.steps = steps


def is_key(value: object) -> bool:
    """Whether these are keys, and no numbers."""
    return bool(jnp.issubdtype(jax.typeof(value).dtype, jax.dtypes.extended))


def spelt(path: Path) -> str:
    """The place of a Variable as a user would write it: `nodes['scale'].factor`, or of a loop's
    modules `modules[0].linear.kernel`."""
    first, *rest = path
    if isinstance(first, int):  # of a pipeline, its modules, those that are shared
        whose = ("", "modules", "shared")[first]
        if not whose:
            return spelt(tuple(rest))
        first, rest = f"{whose}[{rest[0]}]", rest[1:]
    if first == "nodes":
        first, rest = f"nodes[{rest[0]!r}]", rest[1:]
    return str(first) + "".join(f"[{x}]" if isinstance(x, int) else f".{x}" for x in rest)


def _short(number: np.generic) -> str:
    value = number.item()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
