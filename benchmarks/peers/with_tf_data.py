"""tf.data: records shuffled in a full buffer, or their ids, from which batches are gathered."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import workloads
from workloads import SIZE, Arrays, Workload

from peers import Contestants, Epoch

AUTOTUNE = tf.data.AUTOTUNE
Dataset = Any


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """Map before or after batching; ids instead of records; NumPy or dlpack on the way to JAX."""
    if workload.kind == "graph":
        return {}
    few = {name: x[: workload.slow_records] for name, x in data.items()}
    ways = {
        "map, batch": (partial(_records, workload, few, shuffle, False), _by_numpy),
        "batch, map": (partial(_records, workload, few, shuffle, True), _by_numpy),
        "ids, batch, gather": (partial(_ids, workload, data, shuffle), _by_numpy),
        "ids, batch, gather; dlpack": (partial(_ids, workload, data, shuffle), _by_dlpack),
    }
    settings = {name: partial(_epochs, make, to_jax) for name, (make, to_jax) in ways.items()}
    return {"tf.data": settings}


def _epochs(make: Callable[[], Dataset], to_jax: Callable[[Dataset], Iterator[Arrays]]) -> Epoch:
    dataset = make().prefetch(AUTOTUNE)
    return lambda: to_jax(dataset)


def _records(workload: Workload, data: Arrays, shuffle: bool, batch_first: bool) -> Dataset:
    dataset = tf.data.Dataset.from_tensor_slices(data)
    if shuffle:
        dataset = dataset.shuffle(len(data["id"]))
    if batch_first:
        dataset = dataset.batch(workload.batch, drop_remainder=True)
        return dataset.map(BATCH[workload.kind], num_parallel_calls=AUTOTUNE)
    dataset = dataset.map(RECORD[workload.kind], num_parallel_calls=AUTOTUNE)
    return dataset.batch(workload.batch, drop_remainder=True)


def _ids(workload: Workload, data: Arrays, shuffle: bool) -> Dataset:
    held = {name: tf.constant(x) for name, x in data.items()}
    dataset = tf.data.Dataset.range(len(data["id"]))
    if shuffle:
        dataset = dataset.shuffle(len(data["id"]))

    def gathered(ids: Any) -> Arrays:
        return BATCH[workload.kind]({name: tf.gather(x, ids) for name, x in held.items()})

    dataset = dataset.batch(workload.batch, drop_remainder=True)
    return dataset.map(gathered, num_parallel_calls=AUTOTUNE)


def _by_numpy(dataset: Dataset) -> Iterator[Arrays]:
    for batch in dataset.as_numpy_iterator():
        yield {name: jnp.asarray(x) for name, x in batch.items()}


def _by_dlpack(dataset: Dataset) -> Iterator[Arrays]:
    for batch in dataset:
        yield {name: jax.dlpack.from_dlpack(x) for name, x in batch.items()}


def _scale(batch: Arrays) -> Arrays:
    return {**batch, "image": tf.cast(batch["image"], tf.float32) * np.float32(1 / 255)}


def _standardise(batch: Arrays) -> Arrays:
    return {**batch, "x": (batch["x"] - workloads.CENTRE) * (1 / workloads.SPREAD)}


def _split(batch: Arrays) -> Arrays:
    row = batch["tokens"]
    return {"inputs": row[..., :-1], "targets": row[..., 1:], "id": batch["id"]}


def _augment(record: Arrays) -> Arrays:
    crop = tf.image.random_crop(record["image"], (SIZE, SIZE, 3))
    crop = tf.cast(tf.image.random_flip_left_right(crop), tf.float32)
    gain, bias = workloads.jitter(tf.unstack(tf.random.uniform((2,))))
    return {**record, "image": crop * gain + bias}


def _augment_batch(batch: Arrays) -> Arrays:
    image = batch["image"]
    count, room = tf.shape(image)[0], image.shape[1] - SIZE + 1
    corners = tf.random.uniform((2, count), 0, room, tf.int32)
    rows = corners[0][:, None] + tf.range(SIZE)
    flips = tf.random.uniform((count, 1)) < 0.5
    columns = corners[1][:, None] + tf.where(flips, SIZE - 1 - tf.range(SIZE), tf.range(SIZE))
    crops = tf.gather(tf.gather(image, rows, batch_dims=1), columns, axis=2, batch_dims=1)
    drawn = tf.unstack(tf.random.uniform((2, count, 1, 1, 1)))
    gains, biases = workloads.jitter(drawn)
    return {**batch, "image": tf.cast(crops, tf.float32) * gains + biases}


RECORD = {"scale": _scale, "standardise": _standardise, "split": _split, "augment": _augment}
BATCH = {**RECORD, "augment": _augment_batch}
