"""A little service: a process with a metric page whose behaviour its URL chooses.

`python service.py` serves on a loopback port that it prints. Counters grow with time:
`work_total` by 1000 a second.
"""

from __future__ import annotations

import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.monotonic()
setting = 1.0
FROZEN = """# TYPE work_total counter
work_total 41
# TYPE level gauge
level 7 1000
"""


def page() -> str:
    at = time.monotonic() - STARTED
    count = int(1000 * at)
    return f"""# HELP work_total Work done.
# TYPE work_total counter
work_total{{kind="a",note="a \\"quoted\\" word"}} {count}
work_total{{kind="b"}} {2 * count}
# TYPE plain counter
plain {count}
# TYPE level gauge
level{{of="a"}} 12.5
level{{of="b"}} 1e3
# TYPE broken gauge
broken NaN
unsaid {count}
# TYPE setting gauge
setting {setting}
# TYPE took_seconds histogram
took_seconds_bucket{{le="0.1"}} {count // 2}
took_seconds_bucket{{le="0.2"}} {count}
took_seconds_bucket{{le="+Inf"}} {count}
took_seconds_sum {count * 0.1}
took_seconds_count {count}
# TYPE slow_seconds histogram
slow_seconds_bucket{{le="0.1"}} 5
slow_seconds_bucket{{le="+Inf"}} {count + 5}
slow_seconds_sum 5
slow_seconds_count {count + 5}
# TYPE idle_seconds histogram
idle_seconds_bucket{{le="0.1"}} 5
idle_seconds_bucket{{le="+Inf"}} 5
idle_seconds_sum 5
idle_seconds_count 5
# TYPE rpc summary
rpc{{quantile="0.5"}} 0.02
rpc{{quantile="0.99"}} 0.25
rpc_sum 9
rpc_count 11
"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        getattr(self, "on_" + path.strip("/").replace("/", "_"), self.on_missing)()

    def answer(self, text: str, *, code: int = 200, kind: str = "text/plain; version=0.0.4"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def on_metrics(self) -> None:
        self.answer(page())

    def on_frozen(self) -> None:
        self.answer(FROZEN)

    def on_backwards(self) -> None:
        self.answer(f"# TYPE work_total counter\nwork_total {1e9 - int(time.monotonic() * 1e3)}\n")

    def on_html(self) -> None:
        self.answer("<!doctype html><title>Log in</title>", kind="text/html")

    def on_disguised(self) -> None:
        self.answer("<!doctype html><title>Log in</title>")

    def on_nonsense(self) -> None:
        self.answer('work_total{kind="a} 12 13 14\n')

    def on_error(self) -> None:
        self.answer("out of order", code=500)

    def on_redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://192.0.2.1/metrics")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def on_huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"# padding\n" * 10_000)
        except OSError:
            self.close_connection = True

    def on_large(self) -> None:
        """Megabytes of other series around the wanted one."""
        self.answer("".join(f'other{{n="{n}"}} 1\n' for n in range(200_000)) + page())

    def on_longline(self) -> None:
        self.answer(f'work_total{{kind="{"x" * 100_000}"}} 1\n')

    def on_hang(self) -> None:
        time.sleep(600)

    def on_drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"#")
                time.sleep(0.2)
        except OSError:
            self.close_connection = True

    def on_broken(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"work_total 1\n")
        self.close_connection = True

    def on_missing(self) -> None:
        self.answer("no such page", code=404)

    def log_message(self, *args: object) -> None:
        del args


def worsen(*_: object) -> None:
    """On SIGUSR1 the gauge `setting` jumps from 1 to 99."""
    global setting  # noqa: PLW0603
    setting = 99.0


def main() -> None:
    signal.signal(signal.SIGUSR1, worsen)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
