"""Loaders to compare: each module has `contestants(workload, data, shuffle)`, all alike."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

Epoch: TypeAlias = Callable[[], Iterator[dict[str, Any]]]
"""The batches of the next epoch, as JAX arrays."""
Settings: TypeAlias = dict[str, Callable[[], Epoch]]
"""Ways to set up one contestant, by name."""
Contestants: TypeAlias = dict[str, Settings]
