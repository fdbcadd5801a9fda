"""The same work delivered as JAX arrays by dagrax, JAX by hand, NumPy and other loaders.

Each contestant's settings are tried first, on the shuffled records, and each is checked: shapes,
dtypes, every record once, fresh orders, and the values, or where they are random the choices. The
fastest one is measured. What is not installed, or delivers something else, is left out, and a line
says so. Loaders that are slow run over fewer records; the last column compares times a record.
`--only` takes a part of a workload's name; `--peer`, `--memory` and `--setting` are for the
processes whose memory is measured.
"""

import dataclasses
import gc
import importlib
import time
from typing import Any

import jax
import numpy as np
from peers import Epoch, Settings
from rounds import Bound, Report, Seconds, measure, peak_megabytes, print_peak
from workloads import WORKLOADS, Arrays, Workload

PEERS = (
    "with_dagrax",
    "by_hand",
    "with_numpy",
    "with_datarax",
    "with_tf_data",
    "with_grain",
    "with_jax_dataloader",
    "with_torch",
)
LIBRARIES = ("numpy", "datarax", "grain", "tensorflow", "tensorflow-cpu", "torch", "jax-dataloader")
OURS = "dagrax `for`"
SHUFFLED, IN_ORDER = True, False
KINDS = {
    "graph": ("graph of 3 nodes",),
    "light": ("images 32x32x3", "100 features", "512 tokens"),
    "heavy": ("augmented images 64x64x3",),
}
FOR = OURS, SHUFFLED
# Of a kind of work, the time a record of one contestant, and of another one.
BOUNDS = [
    ("`for`, graph of 3 nodes / by hand", 1.05, "graph", FOR, ("hand-written JAX", SHUFFLED)),
    ("`for`, light work / tf.data", 0.15, "light", FOR, ("tf.data", SHUFFLED)),
    ("`for`, light work / grain", 0.05, "light", FOR, ("grain", SHUFFLED)),
    ("`for`, light work / torch", 0.1, "light", FOR, ("torch DataLoader", SHUFFLED)),
    ("`for`, crop, flip and jitter / tf.data", 0.5, "heavy", FOR, ("tf.data", SHUFFLED)),
    ("`for`, crop, flip and jitter / grain", 0.5, "heavy", FOR, ("grain", SHUFFLED)),
    ("`for`, crop, flip and jitter / torch", 0.5, "heavy", FOR, ("torch DataLoader", SHUFFLED)),
    ("`for`, light work / datarax `for`", 1.0, "light", FOR, ("datarax `for`", SHUFFLED)),
    ("`for`, light work / datarax `for` in order", 1.0, "light", FOR, ("datarax `for`", IN_ORDER)),
    (
        "`step()` in order, light work / datarax `step()`",
        0.2,
        "light",
        ("dagrax `step()`", IN_ORDER),
        ("datarax `step()`", IN_ORDER),
    ),
]
Times = dict[tuple[Workload, bool], dict[str, float]]  # seconds a record
MEMORY = dataclasses.replace(WORKLOADS[0], records=65_536, slow_records=65_536)  # 201 MB


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contestant with the setting that won."""

    setting: str
    epoch: Epoch
    records: int
    startup: float


class Wrong(Exception):
    """A contestant delivers something else than the workload."""


def main() -> None:
    report = Report(
        "delivered", __doc__, rounds=7, peers=LIBRARIES, only="", peer="", memory="", setting=""
    )
    options = report.options
    if options.peer:
        return one_epoch(options.peer, options.memory, options.setting)
    peers = installed(report)
    times: Times = {}
    settings: dict[str, str] = {}
    for workload in WORKLOADS:
        if options.only not in workload.name:
            continue
        entries: dict[str, Entry] = {}
        for shuffle in (True, False):
            title = title_of(workload, shuffle)
            won = {name: entry.setting for name, entry in entries.items()}
            entries = swept(report, title, peers, workload, shuffle, won)
            epochs = {name: lambda e=e: drained(e.epoch) for name, e in entries.items()}
            seconds = measure(epochs, report.rounds)
            times[workload, shuffle] = {
                name: seconds[name].median / entry.records for name, entry in entries.items()
            }
            tabled(report, title, entries, seconds)
            report.save()  # what there is, should it be broken off
            if workload.name == MEMORY.name and shuffle:
                settings = {name: entry.setting for name, entry in entries.items()}
    summarised(report, times)
    if settings:
        memory(report, peers, settings)
    report.save()


def installed(report: Report) -> dict[str, Any]:
    """The modules of all contestants whose libraries can be imported."""
    modules = {}
    for name in PEERS:
        try:
            modules[name] = importlib.import_module(f"peers.{name}")
        except ImportError as error:
            report.say(f"Left out: `{name}` ({error}).")
    return modules


# Settings: check and time each, keep the fastest.


def swept(
    report: Report,
    title: str,
    peers: dict[str, Any],
    workload: Workload,
    shuffle: bool,
    won: dict[str, str],
) -> dict[str, Entry]:
    """The best entry of each contestant that delivers the workload, or the one that has won."""
    entries = {}
    data = workload.make(workload.records)
    for peer in peers.values():
        for name, settings in peer.contestants(workload, data, shuffle).items():
            again = {
                setting: make for setting, make in settings.items() if setting == won.get(name)
            }
            best, lines = best_of(again or settings, workload, data, shuffle)
            report.say(f"{title}, {name}: {'; '.join(lines)}")
            if best is not None:
                entries[name] = best
    if OURS not in entries:
        raise Wrong(f"{OURS} does not deliver {title}.")
    return entries


def best_of(
    settings: Settings, workload: Workload, data: Arrays, shuffle: bool
) -> tuple[Entry | None, list[str]]:
    """The fastest of the settings that pass, and a few words about each."""
    best, fastest, lines = None, np.inf, []
    for setting, make in settings.items():
        try:
            entry, rate = tried(setting, make, workload, data, shuffle)
        except Exception as error:
            lines.append(f"{setting}: LEFT OUT, {type(error).__name__}: {str(error)[:150]}")
            continue
        lines.append(f"{setting} {rate / 1e3:.3g}k/s")
        if 1 / rate < fastest:
            best, fastest = entry, 1 / rate
        del entry
        gc.collect()  # ends the workers of the loser
    return best, lines


def tried(
    setting: str, make: Any, workload: Workload, data: Arrays, shuffle: bool
) -> tuple[Entry, float]:
    """A checked entry, and its records a second in the faster of two epochs."""
    start = time.perf_counter()
    epoch = make()
    batches = epoch()
    first = jax.block_until_ready(next(batches))
    startup = time.perf_counter() - start
    last = first
    ids = [first["id"]]
    for last in batches:
        ids.append(last["id"])
    check_batch(first, workload, data)
    check_batch(last, workload, data)
    orders, rates = [np.concatenate(ids)], []
    for _ in range(2):
        start = time.perf_counter()
        ids, _ = jax.block_until_ready(drained(epoch))
        rates.append(len(orders[0]) / (time.perf_counter() - start))
        orders.append(np.concatenate(ids))
    check_orders(orders, shuffle)
    return Entry(setting, epoch, len(orders[0]), startup), max(rates)


def drained(epoch: Epoch) -> tuple[list[Any], Arrays]:
    """The ids of all batches of an epoch, so that each is waited for, and the last batch."""
    ids, batch = [], {}
    for batch in epoch():
        ids.append(batch["id"])
    return ids, batch


def check_orders(orders: list[np.ndarray], shuffle: bool) -> None:
    """Every record once in each epoch: in order, or in another order each time."""
    everything = np.arange(len(orders[0]))
    for ids in orders:
        if not np.array_equal(np.sort(ids), everything):
            different = len(np.unique(ids))
            raise Wrong(f"{different} different of {len(ids)} records")
        if not shuffle and not np.array_equal(ids, everything):
            raise Wrong("the order is not sequential")
    if shuffle and len({ids.tobytes() for ids in [*orders, everything]}) <= len(orders):
        raise Wrong("not every epoch has an order of its own")


def check_batch(batch: Arrays, workload: Workload, data: Arrays) -> None:
    """Fields, shapes, dtypes, and the values of NumPy's reference or a random choice among them."""
    ids = np.asarray(batch["id"])
    records = {name: x[ids] for name, x in data.items()}
    reference = workload.numpy(records, np.random.default_rng(0))
    if set(batch) != set(reference) or len(ids) != workload.batch:
        raise Wrong(f"fields are {sorted(batch)}, records {len(ids)}")
    for name, expected in reference.items():
        value = batch[name]
        if not isinstance(value, jax.Array):
            raise Wrong(f"{name} is a {type(value).__name__}")
        if (value.shape, value.dtype) != (expected.shape, expected.dtype):
            raise Wrong(f"{name} is {value.dtype}{list(value.shape)}")
        if not workload.drawn and not np.allclose(value, expected, rtol=1e-5, atol=1e-5):
            raise Wrong(f"{name} differs from the reference")
    if workload.drawn:
        check_draws(np.asarray(batch["image"][:12]), records["image"][:12])


def check_draws(output: np.ndarray, image: np.ndarray) -> None:
    """Each output is one of the crops, perhaps mirrored, with a gain and a bias in range."""
    size, drawn = output.shape[1], []
    for crop, whole in zip(output, image, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(whole, (size, size), axis=(0, 1))
        windows = np.moveaxis(windows, 2, -1).reshape(-1, size, size, 3)
        candidates = np.concatenate([windows, windows[:, :, ::-1]]).reshape(len(windows) * 2, -1)
        probe = np.linspace(0, crop.size - 1, 400).astype(int)
        match = max(
            range(len(candidates)),
            key=lambda i: np.corrcoef(candidates[i, probe], crop.ravel()[probe])[0, 1],
        )
        gain, bias = np.polyfit(candidates[match].astype(float) / 255, crop.ravel(), 1)
        rest = np.abs(candidates[match] / 255 * gain + bias - crop.ravel()).max()
        brightness = bias - 0.5 + 0.5 * gain
        if rest > 1e-4 or not 0.799 < gain < 1.201 or not -0.101 < brightness < 0.101:
            raise Wrong(f"gain {gain:.3f}, brightness {brightness:.3f}, off by {rest:.3g}")
        drawn.append((match % len(windows), match >= len(windows), round(gain, 3)))
    corners, flips, gains = (len(set(column)) for column in zip(*drawn, strict=True))
    if corners < 6 or flips < 2 or gains < 8:
        raise Wrong(f"of 12 records, {corners} corners, {flips} flips and {gains} gains differ")


# Tables.


def title_of(workload: Workload, shuffle: bool) -> str:
    """What a workload is called in the order that it is read in."""
    order = "shuffled" if shuffle else "sequential"
    return f"{workload.name}, batch {workload.batch}, {order}"


def tabled(
    report: Report, title: str, entries: dict[str, Entry], seconds: dict[str, Seconds]
) -> None:
    """One table; the time of dagrax relative to each contestant."""
    heads = [
        "contestant",
        "setting that won",
        "records/s",
        "records an epoch",
        "ms an epoch",
        "quartiles",
        "first batch, s",
        f"{OURS} / this",
    ]
    ours = seconds[OURS].median / entries[OURS].records
    rows = []
    for name, entry in entries.items():
        own = seconds[name]
        quartiles = f"{own.low * 1e3:.1f} to {own.high * 1e3:.1f}"
        rate = entry.records / own.median
        times = [entry.records, own.median * 1e3, quartiles, entry.startup]
        rows.append([name, entry.setting, f"{rate / 1e3:.4g}k", *times, f"{ours * rate:.2f}"])
    report.table(title, heads, rows)


def summarised(report: Report, times: Times) -> None:
    """The time of dagrax relative to each contestant, for all workloads."""
    names = list(dict.fromkeys(name for own in times.values() for name in own if name != OURS))
    rows = [
        [
            title_of(*which),
            *(f"{own[OURS] / own[name]:.2f}" if name in own else "" for name in names),
        ]
        for which, own in times.items()
    ]
    title = f"Time of {OURS} / time of each: below 1, dagrax is faster"
    report.table(title, ["workload", *names], rows, bounds(times))


def bounds(times: Times) -> list[Bound]:
    """Those for which both sides were measured; where there are several workloads, of the worst."""
    stated = []
    for name, at_most, kind, ours, theirs in BOUNDS:
        own = [w for w in WORKLOADS if w.name.startswith(KINDS[kind])]
        pairs = [[times.get((w, order), {}).get(who) for who, order in (ours, theirs)] for w in own]
        ratios = [one / other for one, other in pairs if one and other]
        if len(ratios) == len(own):
            stated.append(Bound(name, at_most, max(ratios)))
    return stated


# Memory, in processes of their own.


def memory(report: Report, peers: dict[str, Any], settings: dict[str, str]) -> None:
    """Peaks of a shuffled epoch, and of a process that imports the same and holds the data."""
    rows = []
    few = WORKLOADS[0].make(WORKLOADS[0].batch)
    for module, peer in peers.items():
        contestants = peer.contestants(WORKLOADS[0], few, True)
        for name in [name for name in contestants if name in settings][:1]:
            own = ["--peer", module]
            idle = peak_megabytes(__file__, *own)
            busy = peak_megabytes(__file__, *own, "--memory", name, "--setting", settings[name])
            numbers = [round(idle), round(busy), round(busy - idle)]
            rows.append([name, settings[name], *numbers])
    megabytes = MEMORY.records * 32 * 32 * 3 / 1e6
    title = f"Peak memory in MB, {MEMORY.name} shuffled, {megabytes:.0f} MB of data"
    report.table(title, ["contestant", "setting", "imports and data", "an epoch", "more"], rows)


def one_epoch(module: str, name: str, setting: str) -> None:
    """Hold the data, run an epoch of the contestant if one is named, and print the peak."""
    peer = importlib.import_module(f"peers.{module}")
    data = MEMORY.make(MEMORY.records)
    if name:
        epoch = peer.contestants(MEMORY, data, True)[name][setting]()
        jax.block_until_ready(drained(epoch))
    print_peak()


if __name__ == "__main__":
    main()
