"""Import Optuna while the run waits for the programs that it starts."""

from __future__ import annotations

import contextlib
import importlib
import threading


def import_in_background() -> None:
    """Begin the import (0.15 s with numpy) on a thread; whoever imports it next waits for it."""
    with contextlib.suppress(RuntimeError):  # no thread to be had: imported when it is needed
        threading.Thread(target=_import, name="import optuna").start()


def _import() -> None:
    with contextlib.suppress(ImportError):  # said where it is needed
        importlib.import_module("optuna")
