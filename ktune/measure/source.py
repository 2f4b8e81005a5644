"""Opens what measures a profile's workload: a command, or a service that runs already."""

from __future__ import annotations

from collections.abc import Sequence

from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.from_profile import attach_spec
from ktune.measure.attach.source import AttachSource
from ktune.measure.attach.specs import AttachSpec, PrometheusSeries
from ktune.measure.fairness.from_profile import limits_of
from ktune.measure.from_profile import workload_spec
from ktune.measure.runner import CommandSource, HealthCheck
from ktune.measure.services.services import Services
from ktune.measure.swap.limited import LimitedMemory
from ktune.profile.configuration import configuration
from ktune.profile.fairness import Fairness, first_said
from ktune.profile.workload import Workload


def open_source(
    workload: Workload,
    *,
    scope: NamespaceRef | None = None,
    health: Sequence[HealthCheck] = (),
    services: Services | None = None,
    memory: LimitedMemory | None = None,
    cpus: tuple[int, ...] = (),
    fairness: Fairness | None = None,
) -> CommandSource | AttachSource:
    """A `WindowSource` and context manager; a command runs on `cpus` (none: anywhere), beside
    `services`, with `memory` (None: all there is). `fairness`: the profile's, which goes before the
    machine's own. Raises RefusedError, UsageError, and what `configuration` raises."""
    fair = first_said(fairness or Fairness(), configuration().fairness)
    limits = limits_of(fair, attached=workload.attach is not None)
    if workload.attach is not None:
        spec = attach_spec(workload)
        _refuse_strange_hosts(spec)
        return AttachSource(spec, scope=scope, limits=limits, part_of_it=fair.part_of_it)
    command = workload_spec(workload, cpus=cpus)
    return CommandSource(
        command,
        scope=scope,
        health=health,
        services=services,
        memory=memory,
        limits=limits,
        part_of_it=fair.part_of_it,
    )


def _refuse_strange_hosts(spec: AttachSpec) -> None:
    """Said by the plan already; a watch has none."""
    pages = [item.origin.url for item in spec.metrics if isinstance(item.origin, PrometheusSeries)]
    elsewhere = {url.host for url in pages if not url.loopback}
    if elsewhere and (strange := elsewhere - set(configuration().metric_hosts)):
        raise RefusedError(
            f"metric pages of {', '.join(sorted(strange))} are not on this machine's loopback",
            hint="`metric_hosts` in the local configuration allows a host",
        )
