"""Sets up what a run needs around its windows and takes it down in reverse order, whatever happens.

The scope is held before anything is planned (`held_scope`): what a watch has in force for a window
must not be taken for the baseline, and what is refused is refused before anything is made. Then:
scope -> lock of one's own -> recovery of earlier runs -> services -> workload -> lease. It is
opened last, so nothing is written before everything else stands, and is released first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.namespaces import NamespaceRef, boot_id
from ktune.measure.f2fs.from_profile import f2fs_of
from ktune.measure.runner import CommandSource
from ktune.measure.scope import EphemeralScope, KeptScope
from ktune.measure.window import Grouped, WindowSource
from ktune.modes.source import window_source
from ktune.policy.guarded import refuse_enforced
from ktune.policy.scope import namespace_scope
from ktune.profile.model import NetnsScope, Profile
from ktune.profile.plan import Plan, PlannedKnob
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.guardian.recovery import Recovery
from ktune.proxy.locks import scope_lock
from ktune.proxy.model import LeaseTunable
from ktune.proxy.recover import recover
from ktune.records import lockouts
from ktune.records.paths import StatePaths


@dataclass
class Stage:
    """Everything stands: measure."""

    lease: Lease
    source: WindowSource
    scope_text: str
    cookie: int | None
    namespace: NamespaceRef | None
    recovered: Sequence[Recovery]
    ephemeral: EphemeralScope | None = None
    kept: KeptScope | None = None

    def keep_scope(self) -> KeptScope | None:
        """Let an ephemeral scope outlive the run (it ends at `rollback --all` or by itself)."""
        if self.ephemeral is not None and self.kept is None:
            self.kept = self.ephemeral.keep()
        return self.kept


@contextmanager
def held_scope(profile: Profile, paths: StatePaths, *, command: str = "tune") -> Iterator[None]:
    """The profile's scope is ours, from before the plan to the end of the run; a watch leaves it
    meanwhile. A namespace that the run makes for itself is held by its stage. An f2fs of the
    profile stands as long: its knobs are there only with it.

    `command` is what others read in the lock.

    Raises:
        BusyError: another run holds it.
        RefusedError: it is in emergency, there is no such namespace, no f2fs can be had here.
        ServiceError: the f2fs could not be made, or does not go.
    """
    scope = profile.scope
    if scope == "ephemeral":
        yield
        return
    cookie = namespace_scope(scope.netns).cookie if isinstance(scope, NetnsScope) else None
    with scope_lock(paths, netns_cookie=cookie, what=f"ktune {command} {profile.name}"):
        lockouts.refuse_in_emergency(paths, lockouts.scope_name(cookie), boot_id())
        with f2fs_of(profile):
            yield


@contextmanager
def stage(
    plan: Plan,
    paths: StatePaths,
    request: LeaseRequest,
    *,
    command: str = "tune",
    proxy: ProxyChoice = ProxyChoice.AUTO,
    logs: Path | None = None,
) -> Iterator[Stage]:
    """Within `held_scope`. `logs`: the folder of the services' logs.

    Raises BusyError, LeaseLost, ServiceError; on the way out everything is restored.
    """
    with ExitStack() as stack:
        ephemeral, namespace, cookie, text = _scope(plan, stack)
        if ephemeral is not None:
            what = f"ktune {command} {plan.profile.name}"
            stack.enter_context(scope_lock(paths, netns_cookie=cookie, what=what))
        recovered = recover(paths)
        refuse_enforced((knob.key for knob in (*plan.knobs, *plan.fixed)), cookie or 0, paths)
        source = stack.enter_context(window_source(plan.profile, namespace, logs=logs))
        if isinstance(source, CommandSource):
            source.begin()
        lease = stack.enter_context(
            open_lease(
                [lease_tunable(knob) for knob in (*plan.knobs, *plan.fixed)],
                request,
                paths=paths,
                namespace=namespace,
                proxy=proxy,
            )
        )
        group = source.group() if isinstance(source, Grouped) else None
        if group is not None:
            lease.bind(group)
        yield Stage(lease, source, text, cookie, namespace, recovered, ephemeral)


def lease_tunable(knob: PlannedKnob) -> LeaseTunable:
    """A planned knob with the limits that the guardian shall enforce."""
    return LeaseTunable(knob.tunable, knob.minimum, knob.maximum, knob.choices, knob.special)


def _scope(
    plan: Plan, stack: ExitStack
) -> tuple[EphemeralScope | None, NamespaceRef | None, int | None, str]:
    """(ephemeral scope, where to go, its cookie, its name); None for the host."""
    scope = plan.scope
    if isinstance(scope, NetnsScope):
        identity = namespace_scope(scope.netns)
        return None, identity.ref, identity.cookie, identity.text
    if scope == "ephemeral":
        ephemeral = stack.enter_context(EphemeralScope())
        return ephemeral, ephemeral.ref, ephemeral.cookie, "ephemeral"
    return None, None, None, "host"
