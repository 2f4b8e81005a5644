"""The forwarder: two directions, each with a delay, a rate and a queue. Standard library only.

Each direction is a virtual clock: a packet leaves the bottleneck when those before it have, takes
`size * 8 / rate` there, and arrives `delay` later. What would wait behind more than the queue
holds is dropped at the tail, as a router does. Timers come from select(2), whose timeout is in
microseconds (epoll's is in milliseconds, which would be a tenth of the delay).
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from dataclasses import dataclass, field

_SEGMENT = 70_000
_BATCH = 64
_IDLE_S = 1.0
_MOST_QUEUED_BYTES = 512 << 20


@dataclass
class Direction:
    """Packets from one device on their way to the other. `rate` in bits per second, 0: none."""

    source: int
    target: int
    delay_s: float
    rate_bit_s: float
    queue_bytes: int
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)
    free_at_s: float = 0.0
    queued_bytes: int = 0
    dropped: int = 0

    def accept(self, packet: bytes, now_s: float) -> None:
        """Take a packet from the source: schedule it, or drop it."""
        size = len(packet)
        leaves = max(now_s, self.free_at_s)
        if self.rate_bit_s:
            if (leaves - now_s) * self.rate_bit_s / 8 + size > self.queue_bytes:
                self.dropped += 1
                return
            leaves += size * 8 / self.rate_bit_s
        elif self.queued_bytes + size > _MOST_QUEUED_BYTES:
            self.dropped += 1
            return
        self.free_at_s = leaves
        self.queued_bytes += size
        self.queue.append((leaves + self.delay_s, packet))

    def due_s(self) -> float | None:
        """When the next packet arrives."""
        return self.queue[0][0] if self.queue else None

    def deliver(self, now_s: float) -> None:
        """Hand over what is due."""
        queue = self.queue
        while queue and queue[0][0] <= now_s:
            packet = queue.popleft()[1]
            self.queued_bytes -= len(packet)
            try:
                os.write(self.target, packet)
            except OSError:
                self.dropped += 1


def forward(directions: tuple[Direction, Direction], control: int) -> None:
    """Forward until `control` becomes readable (a request to end, or its other side died)."""
    by_source = {direction.source: direction for direction in directions}
    watched = [*by_source, control]
    while True:
        due = min((at for at in (d.due_s() for d in directions) if at is not None), default=None)
        wait = _IDLE_S if due is None else max(0.0, due - time.monotonic())
        ready, _, _ = select.select(watched, [], [], wait)
        for fd in ready:
            if fd == control:
                return
            _take(by_source[fd])
        now = time.monotonic()
        for direction in directions:
            direction.deliver(now)


def _take(direction: Direction) -> None:
    for _ in range(_BATCH):
        try:
            packet = os.read(direction.source, _SEGMENT)
        except BlockingIOError:
            return
        direction.accept(packet, time.monotonic())
