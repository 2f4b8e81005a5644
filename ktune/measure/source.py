"""Opens what measures a profile's workload: a command, or a service that runs already."""

from __future__ import annotations

from collections.abc import Sequence

from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.from_profile import attach_spec
from ktune.measure.attach.source import AttachSource
from ktune.measure.from_profile import workload_spec
from ktune.measure.runner import CommandSource, HealthCheck
from ktune.profile.workload import Workload


def open_source(
    workload: Workload, *, scope: NamespaceRef | None = None, health: Sequence[HealthCheck] = ()
) -> CommandSource | AttachSource:
    """A `WindowSource` and context manager. Raises RefusedError, UsageError."""
    if workload.attach is not None:
        return AttachSource(attach_spec(workload), scope=scope)
    return CommandSource(workload_spec(workload), scope=scope, health=health)
