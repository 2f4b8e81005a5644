"""A little service for the benchmark of live tuning: mirrors files from a far host, for ever.

mirror.py BYTES: fetches BYTES over the emulated link again and again, each over a new connection,
and serves its metrics on a loopback port that it prints. Runs as nobody.
"""

from __future__ import annotations

import bisect
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from ktune.measure.link.protocol import ShortTransfer, fresh_peer
from ktune.measure.workloads.transfer import download

BOUNDS_S = tuple(0.01 * 1.15**step for step in range(60))
_PORT = 5001
_DEADLINE_S = 30.0


class Counts:
    """What the page shows."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bytes = 0
        self.failed = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)

    def fetched(self, size: int, took_s: float) -> None:
        with self.lock:
            self.bytes += size
            self.seconds += took_s
            self.buckets[bisect.bisect_left(BOUNDS_S, took_s)] += 1

    def page(self) -> str:
        with self.lock:
            lines = ["# TYPE mirror_fetched_bytes_total counter"]
            lines.append(f"mirror_fetched_bytes_total {self.bytes}")
            lines.append("# TYPE mirror_failed_total counter")
            lines.append(f"mirror_failed_total {self.failed}")
            lines.append("# TYPE mirror_fetch_seconds histogram")
            total = 0
            for bound, count in zip((*BOUNDS_S, float("inf")), self.buckets, strict=True):
                total += count
                name = "+Inf" if bound == float("inf") else f"{bound:.6g}"
                lines.append(f'mirror_fetch_seconds_bucket{{le="{name}"}} {total}')
            lines.append(f"mirror_fetch_seconds_sum {self.seconds}")
            lines.append(f"mirror_fetch_seconds_count {total}")
        return "\n".join(lines) + "\n"


COUNTS = Counts()


class Page(BaseHTTPRequestHandler):
    """The metrics."""

    def do_GET(self) -> None:
        text = COUNTS.page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        del args


def main() -> None:
    """Fetch and serve until killed."""
    size = int(sys.argv[1])
    server = HTTPServer(("127.0.0.1", 0), Page)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        try:
            COUNTS.fetched(size, download((fresh_peer(), _PORT), size, _DEADLINE_S))
        except (OSError, ShortTransfer):
            COUNTS.failed += 1
            time.sleep(0.05)


if __name__ == "__main__":
    main()
