"""Modules that a loop only reads: refused by name where its step function sets one of them, or
where another module of the loop, which changes, has a Variable in common with one.

Both are seen in the trace. What the loop computes is not known here.
"""

from flax import nnx
from jaxtyping import PyTree

from .._call._parts import Parts, Values, is_same
from ._module import Modules
from ._refusal import spelt


class Shared:
    """Modules as they are before a loop; each turn is given its own, made of the same values."""

    def __init__(self, modules: Modules):
        self._parts = Parts.of(modules)
        self.values: Values = self._parts.values()

    @property
    def named(self) -> dict[str, PyTree]:
        """The values by the names of their Variables."""
        return dict(zip(map(_spelt, self._parts.paths), self.values, strict=True))

    def modules(self) -> Modules:
        """Modules for one turn of the loop."""
        modules: Modules = self._parts.together(self.values)
        return modules

    def refuse_set(self, modules: Modules) -> None:
        """Refuse a step function that has set a Variable of them. **Errors:** ValueError."""
        now = nnx.to_flat_state(nnx.state(modules))
        known = dict(zip(self._parts.paths, self.values, strict=True))
        written = [
            _spelt(path)
            for path, leaf in now
            if path in known
            and isinstance(leaf, nnx.Variable)
            and not is_same(known[path], leaf.get_raw_value())
        ]
        if written:
            raise ValueError(
                f"The step function sets `{written[0]}`, but a shared module is only read. Pass "
                "the module that it changes by modules=(module,), over variants one for each, "
                "stacked by `stack`; or call its eval() before, where what is set is but a count "
                "of draws, or a statistic of its training."
            )

    def refuse_changed(self, others: PyTree) -> None:
        """Refuse a Variable that has changed with others, the pipeline and its modules, behind a
        loop. **Errors:** ValueError."""
        found = Parts.of(others)
        places = {id(leaf): path for path, leaf in zip(found.paths, found.leaves, strict=True)}
        pairs = zip(self._parts.paths, self._parts.leaves, self.values, strict=True)
        for path, leaf, before in pairs:
            if id(leaf) in places and not is_same(before, leaf.get_raw_value()):
                raise ValueError(
                    f"`{_spelt(path)}` is `{spelt(places[id(leaf)])}` too, which changes in the "
                    "loop: a shared module is only read, and would stay as it was before. Pass it "
                    "by modules=(…) alone."
                )


def _spelt(path: tuple[object, ...]) -> str:
    return spelt((2, *path))
