"""Apply and read back a set through the lease, against the bare system calls.

The journal lies on tmpfs, so fsync costs nothing: what is compared is everything else that the
lease adds (request, guardian, intents and read-backs on record, looking for foreign writes).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from costs.knobs import MovableKnob, movable
from costs.rig import Net, Spread, interleaved, note, scratch, spread, table, verdict
from ktune.kernel.namespaces import NamespaceRef
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.records.paths import StatePaths

_TARGET = 3.0


def measure(runs: int, knobs: int = 50) -> None:
    """Time both sides and print them."""
    with Net() as net, Net() as other, scratch("/dev/shm") as folder:
        chosen = movable(net, knobs)
        paths = StatePaths(folder / "state", folder / "run")
        request = LeaseRequest("benchmark", "benchmark", "benchmark")
        with open_lease(
            [knob.lease for knob in chosen],
            request,
            paths=paths,
            namespace=NamespaceRef(net.path),
        ) as lease:
            found = interleaved(
                runs,
                {
                    "bare system calls": lambda _: _bare(other, chosen),
                    "lease.apply": lambda _: _leased(lease, chosen),
                },
            )
        bare, leased = (spread(times) for times in found.values())
        ratios = spread(b / a for a, b in zip(*found.values(), strict=True))
        _show(len(chosen), runs, bare, leased, ratios)


def _show(knobs: int, runs: int, bare: Spread, leased: Spread, ratios: Spread) -> None:
    per_knob = 1e6 / knobs
    table(
        f"Apply and read back {knobs} sysctls, fsync left out, {runs} interleaved rounds",
        ("way", "ms, median [quartiles]", "us a knob"),
        [
            (
                "open+write+close, open+read+close",
                bare.text(1000, 2),
                f"{bare.median * per_knob:.1f}",
            ),
            ("lease.apply", leased.text(1000, 2), f"{leased.median * per_knob:.1f}"),
        ],
    )
    note(
        f"ratio {ratios.text(1, 2)}; target <= {_TARGET:g}: "
        f"{verdict(ratios.median, _TARGET, at_most=True)}"
    )


def _bare(net: Net, knobs: Sequence[MovableKnob]) -> float:
    """The same values, one after the other, as a shell script would, in a namespace of its own:
    in the lease's it would be a foreign write."""
    pairs = [(knob.tunable.path, str(knob.other).encode()) for knob in knobs]
    back = [(knob.tunable.path, str(knob.original).encode()) for knob in knobs]
    with net.entered():
        started_s = time.perf_counter()
        _write_and_read(pairs)
        taken_s = time.perf_counter() - started_s
        _write_and_read(back)
    return taken_s


def _leased(lease: Lease, knobs: Sequence[MovableKnob]) -> float:
    wanted = {knob.tunable.key: knob.other for knob in knobs}
    started_s = time.perf_counter()
    report = lease.apply(wanted, deadline_s=60)
    taken_s = time.perf_counter() - started_s
    if not report.ok:
        raise SystemExit(f"the lease could not apply: {report.problems}")
    lease.apply({}, deadline_s=60)
    return taken_s


def _write_and_read(pairs: Sequence[tuple[str, bytes]]) -> None:
    for path, data in pairs:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, data)
        os.close(fd)
        _read(path)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
