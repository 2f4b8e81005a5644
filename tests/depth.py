"""How many examples a property is tried on: a quarter in the quick run, all in `make test-full`."""

from __future__ import annotations

import os

WHOLE = os.environ.get("KTUNE_TEST_WHOLE") == "1"
LEAST = 10


def examples(whole: int) -> int:
    """Of `whole` examples those that this run tries."""
    return whole if WHOLE else max(LEAST, whole // 4)
