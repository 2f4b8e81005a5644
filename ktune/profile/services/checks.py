"""What must hold between services, resets and the workload of a profile. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ktune.profile.cpus import OTHERS
from ktune.profile.errors import Problem, did_you_mean, shown
from ktune.profile.model import Profile
from ktune.profile.services.f2fs import F2fsService
from ktune.profile.services.programs import NginxService, PostgresqlService, ProgramService
from ktune.profile.services.swap import SwapService
from ktune.profile.workload import Renewal, ServiceAction, ServiceReset, Workload

_RESTART_RENEWS = (Renewal.NEW_SOCKET, Renewal.NEW_OPEN, Renewal.NEW_PROCESS)
"""A server that starts again is a new process, opens its files anew and listens anew."""


def servers(profile: Profile) -> dict[str, ProgramService]:
    """By name."""
    return {item.name: item for item in profile.services if isinstance(item, ProgramService)}


def renewed(workload: Workload) -> set[str]:
    """What each window makes anew: the workload's word, and what a restarted service implies."""
    words = {item.value for item in workload.renews}
    for reset in workload.reset:
        if isinstance(reset, ServiceReset) and reset.action is not ServiceAction.CHECKPOINT:
            words.update(item.value for item in _RESTART_RENEWS)
    return words


def check_services(profile: Profile) -> Iterator[Problem]:
    """Names and ports stand once; resets name a service that can do it."""
    yield from _swaps(profile)
    yield from _f2fs(profile)
    seen: set[str] = set()
    ports: set[int] = set()
    for index, item in enumerate(profile.services):
        if not isinstance(item, ProgramService):
            continue
        if item.name in seen:
            yield Problem(
                profile.where("services", index),
                f"services: {shown(item.name)} stands twice; give each a `name`",
            )
        if item.port is not None and item.port in ports:
            yield Problem(
                profile.where("services", index, "port"),
                f"services: two services want port {item.port}",
            )
        if isinstance(item, NginxService) and item.upstream is not None:
            yield from _upstream(profile, index, item.upstream)
        seen.add(item.name)
        ports.update([item.port] if item.port is not None else [])
    if profile.workload is not None:
        yield from _resets(profile, profile.workload)
        yield from _others(profile, profile.workload)


def _swaps(profile: Profile) -> Iterator[Problem]:
    """Swap is the whole host's; one file is enough."""
    found = [at for at, item in enumerate(profile.services) if isinstance(item, SwapService)]
    for index in found[1:]:
        yield Problem(profile.where("services", index), "services: one swap is enough")
    for index in found[:1]:
        mark = profile.where("services", index)
        if profile.scope != "host":
            yield Problem(mark, "services: swap is the whole host's: use `scope: host`")
        if profile.workload is not None and profile.workload.phases:
            yield Problem(mark, "services: no swap beside `phases`: each would want the file")


def _f2fs(profile: Profile) -> Iterator[Problem]:
    """Its device is one for the whole host."""
    found = [at for at, item in enumerate(profile.services) if isinstance(item, F2fsService)]
    for index in found[1:]:
        yield Problem(profile.where("services", index), "services: one f2fs is enough")
    if found and profile.scope != "host":
        yield Problem(
            profile.where("services", found[0]),
            "services: the knobs of an f2fs are the whole host's: use `scope: host`",
        )


def _upstream(profile: Profile, index: int, name: str) -> Iterator[Problem]:
    """What is asked must be there before who asks, and listen where a proxy reaches it."""
    before = {
        item.name: item
        for item in profile.services[:index]
        if isinstance(item, NginxService) and item.port is not None
    }
    if name not in before:
        yield Problem(
            profile.where("services", index, "upstream"),
            f"services: no nginx {shown(name)} with a `port` before this one"
            + did_you_mean(name, before),
        )


def _resets(profile: Profile, workload: Workload) -> Iterator[Problem]:
    known = servers(profile)
    for index, reset in enumerate(workload.reset):
        if not isinstance(reset, ServiceReset):
            continue
        action, name = reset.action, reset.service
        mark = profile.where("workload", "reset", index, action.value)
        if name not in known:
            listed = f" (services: {', '.join(known)})" if known else ": the profile has none"
            yield Problem(
                mark,
                f"reset: no service {shown(name)}{did_you_mean(name, known)}{listed}",
            )
        elif action is ServiceAction.CHECKPOINT and not isinstance(known[name], PostgresqlService):
            yield Problem(
                mark,
                f"reset: a {known[name].kind} makes no checkpoints (PostgreSQL does): use restart "
                "or restore",
            )


def _others(profile: Profile, workload: Workload) -> Iterator[Problem]:
    if workload.cpus == OTHERS and not any(item.cpus for item in servers(profile).values()):
        yield Problem(
            profile.where("workload", "cpus"),
            "workload: cpus: `others` are those that no service has, and no service here says "
            "which it has: services: [{..., cpus: [0]}]",
        )
