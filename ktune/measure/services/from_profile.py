"""From a profile's services to what the runtime takes; what a plan says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.f2fs import from_profile as f2fs
from ktune.measure.services.folder import check_socket
from ktune.measure.services.kind import Ground, Kind
from ktune.measure.services.memory_stores import Memcached, Redis
from ktune.measure.services.nginx import Nginx
from ktune.measure.services.postgresql import Postgresql
from ktune.measure.services.programs import NoPrograms, find_programs
from ktune.measure.services.service import Setup
from ktune.measure.services.services import Services
from ktune.measure.services.template import template_of
from ktune.measure.swap.from_profile import planned
from ktune.measure.swap.ground import KIND
from ktune.measure.user import Account, account_for
from ktune.profile.model import Profile
from ktune.profile.services.checks import servers
from ktune.profile.services.places import LOOPBACK, place_of
from ktune.profile.services.programs import (
    MemcachedService,
    NginxService,
    PostgresqlService,
    ProgramService,
    RedisService,
)


@dataclass(frozen=True)
class ServiceSurvey:
    """One service on this host. `reason`: why it can't be started; empty: it can."""

    name: str
    text: str
    reason: str = ""

    @property
    def works(self) -> bool:
        """Can it be started, as far as that shows before?"""
        return not self.reason


def services_of(
    profile: Profile, scope: NamespaceRef | None, logs: Path | None = None
) -> Services | None:
    """The servers of a profile, not started yet; None: it has none.

    `logs`: the folder of their logs; the state directory's where not given.

    Raises RefusedError: a program is missing or of another version, no such user.
    """
    if not servers(profile):
        return None
    return Services([_setup(profile, item, scope, logs) for item in servers(profile).values()])


def survey(profile: Profile) -> Iterator[ServiceSurvey]:
    """What a plan says of each. Touches nothing; asks the programs for their versions."""
    try:
        text = planned(profile)
    except RefusedError as error:
        yield ServiceSurvey(KIND, KIND, error.message)
    else:
        yield from [ServiceSurvey(KIND, text)] if text else []
    file_system = f2fs.planned(profile)
    if file_system is not None:
        yield ServiceSurvey("f2fs", file_system, f2fs.why_not())
    for name, service in servers(profile).items():
        try:
            setup = _setup(profile, service, None, None)
        except RefusedError as error:
            yield ServiceSurvey(name, service.kind, error.message)
            continue
        ground = setup.ground
        parts = [
            f"{service.kind} {ground.programs.version} ({ground.programs.server})",
            f"as {setup.account.name}",
            *([f"on CPU {','.join(map(str, service.cpus))}"] if service.cpus else []),
            f"at {ground.place.socket(service.kind)}",
            *([f"{LOOPBACK}:{service.port}"] if service.port else []),
        ]
        if setup.template is not None:
            state = "copied from" if setup.template.made else "made first, then kept in"
            parts.append(f"data {state} {setup.template.folder}")
        yield ServiceSurvey(name, ", ".join(parts))


def _setup(
    profile: Profile, service: ProgramService, scope: NamespaceRef | None, logs: Path | None
) -> Setup:
    state = profile.source.state_dir
    place = place_of(state, profile.name, service.name)
    check_socket(place, service.kind, service.port)
    account, client = _account(service), _client(profile)
    try:
        programs = find_programs(service.kind, service.version)
    except NoPrograms as problem:
        raise RefusedError(f"service {service.name}: {problem}") from problem
    kind = _kind(service, servers(profile))
    facts = kind.made_of()
    if facts:
        facts = {**facts, "version": programs.version, "uid": account.uid}
    folder = logs or Path(state, "services", "logs")
    return Setup(
        service=service,
        kind=kind,
        ground=Ground(place, programs, account.name, client.name, service.port),
        account=account,
        scope=scope,
        template=template_of(Path(state), service.kind, facts) if facts else None,
        log=folder / f"{service.name}.log",
        shared=client.uid != account.uid,
        profile=profile.name,
    )


def _account(service: ProgramService) -> Account:
    account = account_for(service.user)
    if account.uid == 0:
        raise RefusedError(
            f"service {service.name}: a server never runs as root",
            hint="`user:` names another; where it is not given, nobody",
        )
    return account


def _client(profile: Profile) -> Account:
    return account_for(profile.workload.user if profile.workload else None)


def _kind(service: ProgramService, others: Mapping[str, ProgramService]) -> Kind:
    match service:
        case PostgresqlService():
            return Postgresql(service)
        case RedisService():
            return Redis(service)
        case NginxService():
            behind = others[service.upstream].port if service.upstream else None
            return Nginx(service, behind)
        case MemcachedService():
            return Memcached(service)
    raise RefusedError(f"services of kind {service.kind!r} can't be started")
