"""What a method takes on disk: the distribution it is and all that it needs. Standard library only:
another environment's Python runs it, too (`python sizes.py NAME`)."""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata


def installed_bytes(name: str) -> int:
    """The files of a distribution and of what it requires, extras left out."""
    seen: set[str] = set()
    waiting = [name]
    total = 0
    while waiting:
        one = waiting.pop()
        key = re.sub(r"[-_.]+", "-", one).lower()
        if key in seen:
            continue
        seen.add(key)
        try:
            found = metadata.distribution(one)
        except metadata.PackageNotFoundError:
            continue
        for file in found.files or ():
            try:
                total += os.stat(str(file.locate())).st_size
            except OSError:
                continue  # a record names files that are made later
        for line in found.requires or ():
            if "extra" not in line.partition(";")[2]:
                waiting.append(re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0])
    return total


if __name__ == "__main__":
    print(sum(installed_bytes(name) for name in sys.argv[1:]))
