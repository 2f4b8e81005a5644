"""What measures a profile's windows: its services and its workload, in the scope that is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.source import AttachSource
from ktune.measure.f2fs.from_profile import f2fs_health
from ktune.measure.from_profile import link_spec
from ktune.measure.link.link import LongLink
from ktune.measure.runner import CommandSource, HealthCheck
from ktune.measure.services.from_profile import services_of
from ktune.measure.services.services import Services
from ktune.measure.source import open_source
from ktune.measure.swap.from_profile import memory_of
from ktune.profile.model import Profile
from ktune.profile.placement import online_cpus, workload_cpus
from ktune.profile.services.link import LinkService


@contextmanager
def window_source(
    profile: Profile,
    namespace: NamespaceRef | None,
    *,
    services: Services | None = None,
    logs: Path | None = None,
) -> Iterator[CommandSource | AttachSource]:
    """Windows can be measured until the block ends; servers start with the first one.

    `services`: those of the profile, where several sources share them. `logs`: the folder of
    the servers' logs. Raises RefusedError: the profile has no workload, or a service can't be had
    here.
    """
    if profile.workload is None:
        raise RefusedError(
            f"profile {profile.name} has no workload: it is meant to be extended",
            hint="write a profile that extends it, with a `workload:`",
        )
    with ExitStack() as stack:
        health = (*_links(profile, namespace, stack), *f2fs_health(profile))
        source = open_source(
            profile.workload,
            scope=namespace,
            health=health,
            services=services or services_of(profile, namespace, logs),
            fairness=profile.fairness,
            memory=memory_of(profile),
            cpus=workload_cpus(profile, online_cpus()) if profile.workload.cpus else (),
        )
        stack.callback(source.close)
        yield source


def _links(
    profile: Profile, namespace: NamespaceRef | None, stack: ExitStack
) -> tuple[HealthCheck, ...]:
    checks = []
    for service in profile.services:
        if not isinstance(service, LinkService):
            continue
        if namespace is None:
            raise RefusedError(
                "a link needs a namespace of its own",
                hint="set `scope: ephemeral` in the profile",
            )
        link = stack.enter_context(LongLink(link_spec(service), namespace))
        checks.append(link.health)
    return tuple(checks)
