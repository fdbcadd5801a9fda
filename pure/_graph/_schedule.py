"""The static order of a graph's nodes, and everything that can be wrong with one.

Only names are known here: no stages, no batches, no arrays.
"""

import dataclasses
import graphlib
import heapq
import itertools
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .._text import listed, of_type, suggestion
from .._warning import warn


@dataclasses.dataclass(frozen=True, init=False)
class Schedule:
    """The static order in which the nodes of a graph run: frozen, hashable, no arrays.

    `edges` maps each node to the list of its predecessors; `[]` reads the source batch. `order`
    holds every node after its predecessors, in the order of `edges` where that leaves a choice.
    `chains` gives the inner nodes of those that are rows of nodes: they take its place in `edges`
    and `order`, and its name stands for the last of them.

    **Errors:** a ValueError that lists everything wrong with the graph at once.
    """

    edges: tuple[tuple[str, tuple[str, ...]], ...]
    sink: str
    order: tuple[str, ...]
    ends: tuple[tuple[str, str], ...]  # of the chains

    def __init__(
        self,
        edges: Mapping[str, Sequence[str]],
        sink: str,
        chains: Mapping[str, Sequence[str]] = types.MappingProxyType({}),
    ) -> None:
        raise_failures(graph_failures(list(edges), edges, sink))
        ends = {name: inner[-1] for name, inner in chains.items()}
        within = {name: tuple(ends.get(x, x) for x in before) for name, before in edges.items()}
        frozen = tuple(_expanded(within, chains))
        object.__setattr__(self, "edges", frozen)
        object.__setattr__(self, "sink", ends.get(sink, sink))
        object.__setattr__(self, "order", tuple(_sorted(dict(frozen))))
        object.__setattr__(self, "ends", tuple(ends.items()))

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

    def node(self, name: str) -> str:
        """The node of this name: of a chain, the last."""
        return dict(self.ends).get(name, name)

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


def raise_failures(failures: Iterable[str], cause: Exception | None = None) -> None:
    """Raise one ValueError that lists every failure, if there is any."""
    lines = [f"\n  - {failure}" for failure in failures]
    if lines:
        raise ValueError("The graph cannot be built:" + "".join(lines)) from cause


def graph_failures(
    nodes: Sequence[str], edges: Mapping[str, Sequence[str]], sink: str
) -> list[str]:
    """Everything that is wrong with a graph, one sentence or two for each failure."""
    if not nodes and not edges:
        return ["there are no nodes; pass at least one stage."]
    unnamed = [name for name in [*nodes, *edges] if not isinstance(name, str) or not name]
    if unnamed:
        return [f"a node is named {unnamed[0]!r}; expected a string of at least one letter."]
    entries = [_entry_failures(name, before, nodes) for name, before in edges.items()]
    return [
        *(
            f"`edges` has the key `{name}`, which is an unknown node. {suggestion(name, nodes)}"
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
        *_sink_failures(sink, nodes),
        *(
            f"the nodes form a cycle: {' -> '.join(cycle)}; remove one of these edges."
            for cycle in _cycles(edges)
        ),
    ]


def _sink_failures(sink: object, nodes: Sequence[str]) -> list[str]:
    if isinstance(sink, list | tuple | set):
        return [
            f"the sink is {sink!r} of type {type(sink).__name__}, but a graph has one sink; join "
            "the nodes by another, which takes one argument for each, or read them by `outputs`."
        ]
    if sink in nodes:
        return []
    return [f"the sink `{sink}` is an unknown node. {suggestion(str(sink), nodes)}"]


def _entry_failures(name: str, before: Sequence[str], nodes: Sequence[str]) -> list[str]:
    if isinstance(before, str):
        return [
            f"the entry of node `{name}` is the string {before!r}; expected a list of names: "
            f"write [{before!r}]."
        ]
    unknown = [
        f"node `{name}` reads `{other}`, which is an unknown node. "
        f"{_instead(name, other, before, nodes)}"
        for other in dict.fromkeys(before)
        if other not in nodes
    ]
    loop = (
        [f"node `{name}` reads itself; remove `{name}` from its own entry."]
        if name in before
        else []
    )
    return unknown + loop


def _instead(name: str, other: str, before: Sequence[str], nodes: Sequence[str]) -> str:
    if other != "source":
        return suggestion(other, nodes)
    if len(before) == 1:
        return f"Write `{name!r}: []` to read the source."
    raw = "raw" if "raw" not in nodes else "given"
    entry = [raw if x == other else x for x in before]
    return (
        "To read the source beside other nodes, add a node that hands it on: "
        f"nodes={{{raw!r}: lambda batch: batch, …}}, edges={{{raw!r}: [], {name!r}: {entry}, …}}."
    )


def _expanded(
    edges: Mapping[str, tuple[str, ...]], chains: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, before in edges.items():
        for inner in chains.get(name, (name,)):
            yield inner, before
            before = (inner,)


def _sorted(edges: Mapping[str, Sequence[str]]) -> list[str]:
    names = list(edges)
    place = {name: index for index, name in enumerate(names)}
    sorter = graphlib.TopologicalSorter(edges)
    sorter.prepare()
    order: list[str] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, place[name])
        order.append(names[heapq.heappop(ready)])
        sorter.done(order[-1])
    return order


def _cycles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    # One cycle of each knot, in the direction of the data, without self-loops.
    place = {name: index for index, name in enumerate(edges)}
    rest = {
        name: [other for other in before if other != name and other in edges]
        for name, before in edges.items()
        if not isinstance(before, str)
    }
    cycles: list[list[str]] = []
    while True:
        try:
            graphlib.TopologicalSorter(rest).prepare()
        except graphlib.CycleError as error:
            loop: list[str] = error.args[1][:-1]
            start = loop.index(min(loop, key=place.__getitem__))
            cycles.append([*loop[start:], *loop[: start + 1]])
            rest = {name: before for name, before in rest.items() if name not in loop}
        else:
            return cycles


def warn_of_idle(schedule: Schedule) -> None:
    """Warn of nodes that do not lead to the sink."""
    idle = [node for node in schedule.order if node not in schedule.executed]
    if idle:
        one = len(idle) == 1
        warn(
            f"The node{'s' * (not one)} {listed(idle)} {'does' if one else 'do'} not lead to the "
            f"sink `{schedule.sink}`, and {'runs' if one else 'run'} for `outputs` alone. `edges` "
            "maps each node to the nodes that it reads: are they the other way round?"
        )


def check_mappings(nodes: Mapping[str, object], edges: Mapping[str, Sequence[str]]) -> None:
    """Refuse nodes and edges that are no dicts. **Errors:** TypeError."""
    examples = {"nodes": '{"crop": crop}', "edges": '{"crop": []}'}
    for name, value in (("nodes", nodes), ("edges", edges)):
        if not isinstance(value, Mapping):
            raise TypeError(of_type(name, value, f"a dict: write {name}={examples[name]}."))
    for node, before in edges.items():
        if not isinstance(before, Sequence):
            raise TypeError(
                f"The entry of node `{node}` in edges is {before!r} of type "
                f"{type(before).__name__}; expected a list of names: write {node!r}: [] to read "
                "the source."
            )
