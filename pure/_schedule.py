import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from ._names import suggestion


@dataclasses.dataclass(frozen=True, init=False)
class Schedule:
    """The static order in which the nodes of a graph run: frozen, hashable, no arrays.

    `edges` maps each node to the list of its predecessors; `[]` reads the source batch. `order`
    holds every node after its predecessors, in the order of `edges` where that leaves a choice.

    **Errors:** a ValueError that lists everything wrong with the graph at once.
    """

    edges: tuple[tuple[str, tuple[str, ...]], ...]
    sink: str
    order: tuple[str, ...]

    def __init__(self, edges: Mapping[str, Sequence[str]], sink: str):
        raise_failures(graph_failures(list(edges), edges, sink))
        frozen = tuple((name, tuple(before)) for name, before in edges.items())
        object.__setattr__(self, "edges", frozen)
        object.__setattr__(self, "sink", sink)
        object.__setattr__(self, "order", tuple(_sorted(dict(frozen))))

    @classmethod
    def linear(cls, names: Sequence[str]) -> "Schedule":
        """The schedule of a list of stages: each reads the one before it, the first the source."""
        twice = dict.fromkeys(name for name in names if list(names).count(name) > 1)
        raise_failures(
            f"the name `{name}` is given to {list(names).count(name)} nodes; "
            "each node needs a name of its own."
            for name in twice
        )
        edges = {name: [before] for before, name in itertools.pairwise(names)}
        first: dict[str, Sequence[str]] = {name: [] for name in names[:1]}
        return cls(first | edges, sink=names[-1] if names else "")

    def predecessors(self, node: str) -> tuple[str, ...]:
        """The nodes whose outputs `node` is called with, in that order; `()` is the source."""
        return dict(self.edges)[node]

    def run_for(self, targets: Iterable[str]) -> tuple[str, ...]:
        """The nodes that must run, in order, for the outputs of `targets`."""
        edges, needed = dict(self.edges), set(targets)
        for node in reversed(self.order):
            if node in needed:
                needed.update(edges[node])
        return tuple(node for node in self.order if node in needed)

    @property
    def executed(self) -> tuple[str, ...]:
        """The nodes that run for the sink, in order; the others are left out of the program."""
        return self.run_for([self.sink])


def raise_failures(failures: Iterable[str]) -> None:
    """Raise one ValueError that lists every failure, if there is any."""
    lines = [f"\n  - {failure}" for failure in failures]
    if lines:
        raise ValueError("The graph cannot be built:" + "".join(lines))


def graph_failures(
    nodes: Sequence[str], edges: Mapping[str, Sequence[str]], sink: str
) -> list[str]:
    """Everything that is wrong with a graph, one sentence or two for each failure."""
    if not nodes and not edges:
        return ["there are no nodes; pass at least one stage."]
    entries = [_entry_failures(name, before, nodes) for name, before in edges.items()]
    return [
        *(
            f"`edges` has the key `{name}`, which is not a node. {suggestion(name, nodes)}"
            for name in edges
            if name not in nodes
        ),
        *(
            f"node `{name}` has no entry in `edges`; add `{name!r}: []` to read the source, "
            "or list its predecessors."
            for name in nodes
            if name not in edges
        ),
        *itertools.chain(*entries),
        *([] if sink in nodes else [f"the sink `{sink}` is not a node. {suggestion(sink, nodes)}"]),
        *(
            f"the nodes run in a circle: {' -> '.join(cycle)}; remove one of these edges."
            for cycle in _cycles(edges)
        ),
    ]


def _entry_failures(name: str, before: Sequence[str], nodes: Sequence[str]) -> list[str]:
    if isinstance(before, str):
        return [
            f"the entry of node `{name}` is the string {before!r}; expected a list of names: "
            f"write [{before!r}]."
        ]
    unknown = [
        f"node `{name}` reads `{other}`, which is not a node. {suggestion(other, nodes)}"
        for other in dict.fromkeys(before)
        if other not in nodes
    ]
    loop = (
        [f"node `{name}` reads itself; remove `{name}` from its own entry."]
        if name in before
        else []
    )
    return unknown + loop


def _sorted(edges: Mapping[str, Sequence[str]]) -> list[str]:
    # Kahn's algorithm; what is left out lies on a cycle or behind one.
    done: list[str] = []
    while True:
        waiting = {
            name: [p for p in edges[name] if p in edges] for name in edges if name not in done
        }
        ready = [name for name, before in waiting.items() if set(before) <= set(done)]
        if not ready:
            return done
        done.append(ready[0])


def _cycles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    # One cycle of each knot, in the direction of the data, without self-loops.
    rest = {
        name: [other for other in before if other != name]
        for name, before in edges.items()
        if not isinstance(before, str)
    }
    cycles: list[list[str]] = []
    while True:
        done = set(_sorted(rest))
        knot = {
            n: [p for p in ps if p in rest and p not in done]
            for n, ps in rest.items()
            if n not in done
        }
        if not knot:
            return cycles
        path = [next(iter(knot))]
        while knot[path[-1]][0] not in path:
            path.append(knot[path[-1]][0])
        loop = path[path.index(knot[path[-1]][0]) :][::-1]
        first = min(loop, key=list(edges).index)
        loop = loop[loop.index(first) :] + loop[: loop.index(first)]
        cycles.append([*loop, first])
        rest = {name: before for name, before in rest.items() if name not in loop}
