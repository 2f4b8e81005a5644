"""Optuna speaks to ktune's own log, never to the terminal.

Its log records are handed to the logger `ktune.optuna`; its Python warnings (experimental
features, independent sampling) are logged there at debug level.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOG = logging.getLogger("ktune.optuna")
LOG.addHandler(logging.NullHandler())  # else Python prints warnings of a logger without handlers


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if LOG.isEnabledFor(record.levelno):
            LOG.handle(record)


def take_over_log() -> None:
    """Replace Optuna's handler for the terminal by ours; calling it again changes nothing."""
    import optuna

    optuna.logging.disable_default_handler()
    logger = logging.getLogger("optuna")
    logger.propagate = False
    if not any(isinstance(handler, _Forward) for handler in logger.handlers):
        logger.addHandler(_Forward())


@contextmanager
def quiet() -> Iterator[None]:
    """Log the Python warnings raised inside at debug level instead of printing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        LOG.debug("%s: %s", warning.category.__name__, warning.message)
