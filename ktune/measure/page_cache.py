"""Drop the page cache of named files, and of no others. Standard library only.

posix_fadvise(2) POSIX_FADV_DONTNEED drops clean pages only, so each file is written back first.
Nothing else on the host loses its cache (`vm.drop_caches` would do that).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

_MOST_FILES = 100_000


def drop_page_cache(paths: Sequence[str]) -> int:
    """Drop the cache of these files and of those below these folders; returns how many.

    Raises OSError when a named path is missing or may not be read, and when a folder holds
    more than 100,000 files.
    """
    count = 0
    for path in paths:
        for file in _files(path):
            count += 1
            if count > _MOST_FILES:
                raise OSError(0, f"more than {_MOST_FILES} files below {path}")
            _drop(file)
    return count


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    for folder, _, names in os.walk(path, onerror=_raise):
        for name in names:
            full = os.path.join(folder, name)
            if os.path.isfile(full) and not os.path.islink(full):
                yield full


def _raise(error: OSError) -> None:
    raise error


def _drop(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
