"""URLs of metric pages: their form, and whether they stay on this machine. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_TARGET = re.compile(r"[!-~]{1,1000}\Z")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}\Z")


@dataclass(frozen=True)
class MetricsUrl:
    """Where a page is: `target` is path and query as the request line takes them."""

    host: str
    port: int
    target: str

    @property
    def loopback(self) -> bool:
        """Whether it stays on this machine by its name alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.target}"


def parse_metrics_url(text: str) -> MetricsUrl:
    """`http://HOST:PORT/path?query`. Raises ValueError with what is wrong.

    >>> str(parse_metrics_url("http://localhost/metrics"))
    'http://localhost:80/metrics'
    """
    if not _TARGET.match(text):
        raise ValueError("a URL has no blanks, control characters or letters outside ASCII")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme != "http":
        raise ValueError("expected a URL such as http://127.0.0.1:9100/metrics")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL in a profile holds no user name or password")
    if parts.fragment:
        raise ValueError("a URL of metrics has no #fragment")
    host = parts.hostname or ""
    if not _HOST.match(host):
        raise ValueError("the URL has no valid host")
    if port == 0:
        raise ValueError("the URL's port must be 1 to 65535")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return MetricsUrl(host, port or 80, target)
