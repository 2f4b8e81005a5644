"""`apply --persist` and `apply --boot`: policies that survive reboots. Not a command of its own."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ktune.cli.common import print_json, say, state_paths, warn
from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.policy import persisted, units
from ktune.records.codec import encode
from ktune.records.paths import StatePaths

if TYPE_CHECKING:
    from ktune.policy.apply import ApplyPlan
    from ktune.policy.persist import BootStep


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `apply` that belong here."""
    parser.add_argument(
        "--persist",
        action="store_true",
        help="also after every boot; once `ktune watch` has seen it through its probation",
    )
    parser.add_argument(
        "--unit-dir",
        metavar="DIR",
        help="with --persist: where the systemd units go (default: KTUNE_UNIT_DIR, else "
        "/etc/systemd/system where systemd runs)",
    )
    parser.add_argument(
        "--healthy-after",
        metavar="TIME",
        help="with --persist: a boot counts as healthy after its probation, or when it was "
        "watched so long without an emergency (default 15m)",
    )
    parser.add_argument(
        "--boot", action="store_true", help="apply what is persisted; for the unit, after a boot"
    )


def check(plan: ApplyPlan, args: Namespace, paths: StatePaths) -> None:
    """Before anything is asked or written. Raises RefusedError, UsageError."""
    from ktune.policy.persist import refuse_unproven

    _healthy_after_s(args)
    refuse_unproven(plan, paths)


def persist_it(plan: ApplyPlan, args: Namespace, paths: StatePaths) -> list[str]:
    """Record it and install the units; lines for people.

    Raises:
        KtuneError: it is in force, but does not survive a reboot.
    """
    from ktune.policy.persist import persist

    try:
        persist(plan, paths, healthy_after_s=_healthy_after_s(args), coexist=args.coexist)
    except OSError as error:
        raise KtuneError(
            f"{plan.name} is in force, but not after a reboot: {error.filename}: {error.strerror}"
        ) from error
    folder = units.unit_folder(args.unit_dir)
    if folder is None:
        return [
            "no systemd here: have init run this once after the host's sysctl settings",
            f"  {shlex.join(units.boot_command(paths))}",
            "and keep this running after it",
            f"  {shlex.join(units.watch_command(paths))}",
        ]
    files = units.install(folder, paths)
    start = f"watched after every boot; now too: systemctl start {units.WATCH_UNIT}"
    return [
        *(f"enabled: {path}" for path in files),
        *([start] if units.is_running(folder) else []),
        "a boot without it: ktune=off on the kernel command line",
    ]


def run_boot(args: Namespace) -> int:
    """`apply --boot`: what the unit runs."""
    from ktune.policy.persist import boot

    if args.policy or args.persist:
        raise UsageError("--boot applies what is persisted: it takes no POLICY and no --persist")
    if args.dry_run:
        raise UsageError("--boot has no dry run", hint="`ktune status` lists what would be applied")
    paths = state_paths(args)
    steps = boot(paths)
    if args.json:
        print_json([encode(step) for step in steps])
    else:
        say(*(_line(step) for step in steps))
        if not steps:
            say("no policy is persisted")
    return max((step.exit_code for step in steps), default=ExitCode.OK)


def forget_where_nothing_is_in_force(paths: StatePaths, *, everything: bool) -> list[str]:
    """`rollback` found nothing in force (or takes everything): a policy that is blocked, or was not
    applied in this boot, is not persisted any more; lines for people. Raises OSError."""
    found = persisted.list_persisted(paths)[0]
    chosen = found if everything else found[-1:]
    for item in chosen:
        persisted.forget(paths, item.digest)
    return [
        f"{item.name} serial {item.serial}: not applied after boots any more" for item in chosen
    ]


def remove_unused_units(paths: StatePaths) -> list[str]:
    """With nothing persisted the units go; lines for people."""
    if persisted.list_persisted(paths) != ([], []):
        return []
    try:
        return [f"removed: {path}" for path in units.remove(paths)]
    except OSError as error:
        warn(f"the unit stays, and does nothing: {error.filename}: {error.strerror}")
        return []


def _line(step: BootStep) -> str:
    return f"{step.outcome.value.replace('_', ' ')}: {step.name}" + (
        f": {step.reason}" if step.reason else ""
    )


def _healthy_after_s(args: Namespace) -> float:
    from ktune.profile.units import duration

    if args.healthy_after is None:
        return persisted.HEALTHY_AFTER_S
    try:
        return duration(args.healthy_after)
    except ValueError as error:
        raise UsageError(f"--healthy-after: {error}", hint="such as 15m") from None
