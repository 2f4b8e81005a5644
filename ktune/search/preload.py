"""Import Optuna while the run waits for the programs that it starts."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def imported_in_background() -> Iterator[None]:
    """Import it (0.15 s with numpy) on a thread beside the block; whoever imports it in there
    waits for that. Ends with the thread: Python ends badly in the middle of an import."""
    thread = threading.Thread(target=_import, name="import optuna")
    try:
        thread.start()
    except RuntimeError:  # no thread to be had: it is imported when it is needed
        yield
        return
    try:
        yield
    finally:
        thread.join()


def _import() -> None:
    # What is wrong with it is said where it is needed. RuntimeError: Python is ending already,
    # because a second Ctrl-C came while it was waited for.
    with contextlib.suppress(ImportError, RuntimeError):
        importlib.import_module("optuna")
