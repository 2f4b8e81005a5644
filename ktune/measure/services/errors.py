"""What goes wrong with a service; light, for what runs where nothing but Python is installed."""

from __future__ import annotations

from ktune.errors import KtuneError


class ServiceError(KtuneError):
    """A service can't do what it should; the message names it and shows its last words."""
