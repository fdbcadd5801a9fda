from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ParamSpec, TypeVar, overload

import jax
from flax.nnx.extract import PrefixMapping
from flax.nnx.filterlib import Filter
from flax.nnx.statelib import State
from flax.nnx.variablelib import Variable
from flax.typing import Missing, PathParts
from jax.sharding import AbstractMesh, Mesh

_F = TypeVar("_F", bound=Callable[..., Any])
_P = ParamSpec("_P")
_R = TypeVar("_R")

class StateSharding(PrefixMapping):
    def __init__(
        self,
        filter_sharding: State[Any, Any] | Mapping[Filter, Any] | Iterable[tuple[Filter, Any]],
        /,
    ) -> None: ...
    @property
    def filters(self) -> tuple[Filter, ...]: ...
    @property
    def shardings(self) -> tuple[Any, ...]: ...
    def map_prefix(self, path: PathParts, variable: Variable[Any]) -> Any: ...

# In flax they return wrappers, whose untyped `__get__` hides the methods of a class.
@overload
def jit(
    fun: Missing = ...,
    *,
    in_shardings: Any = None,
    out_shardings: Any = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    keep_unused: bool = False,
    device: jax.Device | None = None,
    backend: str | None = None,
    inline: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
@overload
def jit(
    fun: Callable[_P, _R],
    *,
    in_shardings: Any = None,
    out_shardings: Any = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    keep_unused: bool = False,
    device: jax.Device | None = None,
    backend: str | None = None,
    inline: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[_P, _R]: ...
def jit_partial(
    fun: Callable[..., _R],
    *partial_args: Any,
    in_shardings: Any = None,
    out_shardings: Any = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    keep_unused: bool = False,
    device: jax.Device | None = None,
    backend: str | None = None,
    inline: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[..., _R]: ...
@overload
def shard_map(
    f: type[Missing] = ...,
    *,
    mesh: Mesh | AbstractMesh,
    in_specs: Any,
    out_specs: Any,
    axis_names: AbstractSet[Hashable] = ...,
    check_vma: bool = True,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[_F], _F]: ...
@overload
def shard_map(
    f: _F,
    *,
    mesh: Mesh | AbstractMesh,
    in_specs: Any,
    out_specs: Any,
    axis_names: AbstractSet[Hashable] = ...,
    check_vma: bool = True,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> _F: ...
