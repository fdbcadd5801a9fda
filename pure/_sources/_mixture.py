"""Mixtures: records of several sources in proportions that are exact in every block.

Which record comes at which position is told by `_mixed`, how weights become whole numbers by
`_proportions`; what is there to read, by `_joined`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Int64, PRNGKeyArray, PyTree, UInt32

from .._namespace import Batch as Batched
from .._namespace import namespace
from .._orders._mixed import Mixed, Stretch
from .._orders._proportions import Weight, by_name, counts_of
from .._random._keys import check_key
from .._text import listed, near, of_type, valued
from ._host_source import AbstractHostSource
from ._hosted import given_part
from ._joined import Concat, check_alike
from ._source import AbstractSource, Batch

Weights: TypeAlias = Mapping[str, Weight]


class Mixture(AbstractSource[Batch]):
    """Records of several sources, mixed: `Mixture({"web": (a, 0.9), "books": (b, 0.1)}, key)`.

    Elsewhere: `sample_from_datasets`, `interleave_datasets`, `MapDataset.mix`. Here proportions are
    not left to chance: every block of positions (ten, for 0.9 and 0.1) has exactly so many records
    of each source, spread evenly, so that any stretch has its share of each but for less than two.
    Each source goes through its own epochs, in each of which it shows every record once, in a new
    random order, before it repeats any. A place is found from a cursor alone.

    A record draws as it does in its own source: by its own id, in its own epoch. So records of two
    sources that have the same id draw alike, and `record_ids=` of a stream gives the ids in their
    own sources. To tell the sources apart, give the data of each a field that says which it is.

    A mixture decides its own order. An epoch of it has as many positions as all sources have
    records.

    - `sources`: by name a source and its weight. Weights need not add up to 1; a float is taken as
      it is written, 0.1 as one tenth. What needs a block of more than 1,000 positions to be exact
      is rounded to one of that many, so to within a thousandth; what has a weight has a position.
    - `key`: one JAX key.
    - `changes`: `[(1_000_000, {"web": 0.5, "books": 0.5}), …]`: other weights from a position on,
      counted over all epochs; from the end of the block in which it lies.

    **Errors:** TypeError for what is no dict of sources with weights; ValueError for none, for
    negative weights, NaN, and all zero, for unknown names, and positions that do not rise; those
    of `Concat` for records that differ.
    """

    joined: Concat[Batch]
    mixed: Mixed

    def __init__(
        self,
        sources: Mapping[str, tuple[AbstractSource[Batch] | AbstractHostSource[Batch], Weight]],
        key: PRNGKeyArray,
        changes: Sequence[tuple[int, Weights]] = (),
    ):
        check_key("key", key)
        own, weights = _taken_apart(sources)
        check_alike({f"sources[{name!r}]": source for name, source in own.items()})
        self.joined = Concat([*own.values()])
        nothing = (0,) * len(own)
        stretches = [Stretch(0, counts_of("sources", weights), nothing)]
        for position, others in _changes(changes, [*own]):
            counts = counts_of(f"changes of position {position}", others)
            stretches.append(stretches[-1].until(position, counts))
        sizes = tuple(source.size for source in own.values())
        self.mixed = Mixed(key, sizes, tuple(stretches))

    @property
    def size(self) -> int:
        return self.joined.size

    @property
    def order(self) -> Mixed:
        """The order in which the sources are mixed."""
        return self.mixed

    @property
    def annotation(self) -> object:
        """What a batch of the first source is."""
        return self.joined.annotation

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record, the same in all sources."""
        return self.joined.element_spec

    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        return self.joined.rows(ids)

    def fetch(
        self, ids: Int64[np.ndarray, " batch"], out: PyTree[np.ndarray] | None = None
    ) -> PyTree[np.ndarray]:
        return self.joined.fetch(ids, out)

    def record_ids(self, ids: Batched) -> Batched:
        """The ids by which these records draw in their own sources."""
        xp = namespace(ids)
        own: Batched = xp.zeros_like(ids)
        for source, (places, is_here) in zip(
            self.joined.sources, self.joined.located(ids), strict=True
        ):
            own = xp.where(is_here, source.record_ids(places), own)
        return own


def _taken_apart(sources: object) -> tuple[dict[str, AbstractSource], dict[str, Weight]]:
    given = by_name("sources", sources)
    if not given:
        raise ValueError("sources are empty; expected at least one source with its weight.")
    own: dict[str, AbstractSource] = {}
    weights: dict[str, Weight] = {}
    for name, pair in given.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            expected = "a source and its weight: (source, 0.5)."
            raise TypeError(of_type(f"sources[{name!r}]", pair, expected))
        weights[name] = pair[1]
        own[name] = given_part(f"The source of sources[{name!r}]", pair[0])
    return own, weights


def _changes(changes: object, names: list[str]) -> list[tuple[int, dict[str, Weight]]]:
    pairs = changes if isinstance(changes, list | tuple) else None
    if pairs is None or any(not isinstance(x, list | tuple) or len(x) != 2 for x in pairs):
        expected = '[(position, weights), …], such as [(10_000, {"web": 0.5, "books": 0.5})].'
        raise TypeError(of_type("changes", changes, expected))
    found: list[tuple[int, dict[str, Weight]]] = []
    for index, (position, weights) in enumerate(pairs):
        if isinstance(position, bool) or not isinstance(position, int | np.integer):
            raise TypeError(valued(f"The position of changes[{index}]", position, "an int."))
        before = found[-1][0] if found else 0
        if not before < position < 2**62:
            raise ValueError(
                f"The position of changes[{index}] is {position}; expected one above {before}, and "
                "below 2**62."
            )
        where = f"The weights of changes[{index}]"
        given = by_name(where, weights)
        for name in given:
            if name not in names:
                raise ValueError(
                    f"{where} name `{name}`, which is no source; the sources are {listed(names)}."
                    f"{near(name, names)}"
                )
        if missing := [name for name in names if name not in given]:
            raise ValueError(f"{where} leave out {listed(missing)}; give 0 to what is to stop.")
        found.append((int(position), {name: given[name] for name in names}))
    return found
