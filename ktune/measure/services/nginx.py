"""An nginx of the run's own that serves files, or hands requests on to one that does."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from ktune.kernel.versions import kernel_version
from ktune.measure.services.kind import Ground, Hands
from ktune.profile.services.places import LOOPBACK
from ktune.profile.services.programs import NginxService

_CONNECT_S = 0.5
_TAKES_ERROR_LOG = (1, 19, 5)
"""Since then -e; before, it complains of its usual log and goes on."""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Nginx:
    """`Kind`. `behind`: the port of the nginx that it hands requests on to; None: it has files."""

    service: NginxService
    behind: int | None = None
    gentle: int = signal.SIGQUIT
    """Graceful shutdown."""
    quick: int = signal.SIGTERM

    def argv(self, ground: Ground) -> tuple[str, ...]:
        data = ground.place.data
        words = (ground.programs.server, "-p", data, "-c", f"{data}/nginx.conf")
        knows = kernel_version(ground.programs.version) >= _TAKES_ERROR_LOG
        return (*words, "-e", "stderr") if knows else words

    def made_of(self) -> Mapping[str, str | int]:
        if self.behind is not None:
            return {}
        return {"files": self.service.files, "size": self.service.size}

    def make(self, ground: Ground, hands: Hands) -> None:
        """Random bytes: nothing on the way can shrink them."""
        script = (
            'mkdir "$1/www" && i=0 && while [ $i -lt "$2" ]; do '
            'head -c "$3" /dev/urandom > "$1/www/$i.bin" || exit 1; i=$((i + 1)); done'
        )
        words = (ground.place.data, str(self.service.files), str(self.service.size))
        hands.run("sh", "-c", script, "sh", *words, timeout_s=3600)

    def settle(self, ground: Ground) -> Mapping[str, str]:
        data = ground.place.data
        temporary = "".join(f"  {name}_temp_path {data}/{name};\n" for name in _TEMPORARY)
        port = f"    listen {LOOPBACK}:{ground.port};\n" if ground.port else ""
        text = (
            "daemon off;\n"
            f"worker_processes {self.service.workers};\n"
            f"pid {data}/nginx.pid;\n"
            "error_log stderr warn;\n"
            "events { worker_connections 4096; }\n"
            "http {\n"
            "  access_log off;\n"
            "  sendfile on;\n"
            "  tcp_nopush on;\n"
            "  keepalive_requests 1000000;\n"
            f"{temporary}"
            "  server {\n"
            f"    listen unix:{ground.place.socket('nginx')};\n"
            f"{port}"
            f"    {self._content(data)}\n"
            "  }\n"
            "}\n"
        )
        return {"nginx.conf": text}

    def _content(self, data: str) -> str:
        if self.behind is None:
            return f"root {data}/www;"
        return f"location / {{ proxy_pass http://{LOOPBACK}:{self.behind}; }}"

    def ready(self, ground: Ground, hands: Hands) -> bool:
        path = ground.place.socket("nginx")
        if not os.path.exists(path):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_CONNECT_S)
            try:
                probe.connect(path)
                probe.sendall(b"HEAD /0.bin HTTP/1.0\r\n\r\n")
                return probe.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    def checkpoint(self, ground: Ground) -> tuple[str, ...]:
        return ()

    def disturbance(self, words: str) -> str:
        return ""

    def environment(self, ground: Ground) -> Mapping[str, str]:
        return {}
