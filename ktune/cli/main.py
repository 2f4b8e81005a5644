"""The `ktune` command: finds the sub-command, runs it, turns errors into exit codes.

Nothing of a command is imported before that command is asked for: `ktune --help` must answer
at once. The table below is all that the help text needs.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import select
import sys
from collections.abc import Sequence
from typing import cast

from ktune import __version__
from ktune.cli import signals
from ktune.cli.common import Command
from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.report.text import clean

COMMANDS: dict[str, str] = {
    "doctor": "what works on this host, what is missing, why, and what it is used for",
    "knobs": "the catalog of kernel settings: list, show, search, check",
    "profile": "profiles: list, show, init, validate",
    "plan": "what a profile would do here; touches nothing",
    "calibrate": "measure the noise: what can be proven here, and how long it takes",
    "tune": "search for better settings, confirm them, restore",
    "studies": "runs on record: list, show, export",
    "report": "what a study found, in plain text",
    "freeze": "make a policy out of a proven study",
    "approve": "say yes to a proven study or a policy, where that is required",
    "apply": "put a policy in force",
    "status": "policies in force and how they are watched, what is pending, what runs",
    "verify": "compare the kernel with the policies in force",
    "watch": "look after a policy in force, take it back when it does harm",
    "rollback": "take the newest policy (or all) out of force",
    "recover": "restore what a dead run left behind",
    "history": "who changed what, when, why, and how to undo it",
    "schema": "JSON schemas of profiles and policies, for editors",
}
"""Name -> one line of help; the module is `ktune.cli.<name>`."""

DEBUG_VARIABLE = "KTUNE_DEBUG"
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of write(2) that name no file and are not ours: `ktune ... > /dev/full`."""
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Errors of fork(2), pipe(2) and open(2) on a host that has no more to give."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code (docs/exit-codes.md)."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    signals.install()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except KtuneError as error:
        return _complain(error)
    except KeyboardInterrupt as interrupt:
        _to_stderr("ktune: ended by " + (str(interrupt) or "Ctrl-C"))
        return signals.exit_code_of(interrupt)
    except BrokenPipeError as error:
        return _reader_left() if _nobody_reads_stdout() else _bug(error)
    except OSError as error:
        return _host_fault(error) if _is_the_hosts(error) else _bug(error)
    except Exception as error:  # noqa: BLE001 - the last net: people get no traceback
        return _bug(error)


def _open_standard_streams() -> None:
    """`ktune ... >&-`: without a descriptor 1 the first journal opened would be it, and every
    print would end up there. Whoever closed a stream wants nothing of it: the null device."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
        if getattr(sys, name) is None:
            stream = open(fd, "w" if fd else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _run(argv: list[str]) -> int:
    name = _command_of(argv)
    if name is not None and name not in COMMANDS:
        raise _unknown_command(name)
    command = _load(name) if name else None
    try:
        args = _parser(name, command).parse_args(_global_first(argv))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else ExitCode.OK
    if command is None:
        _parser(None, None).print_help(sys.stderr)
        return ExitCode.USAGE
    return command.run(args)


def _globals() -> argparse.ArgumentParser:
    """Options that stand before or after the command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where studies, journals and policies live "
        "(default: KTUNE_STATE_DIR, else /var/lib/ktune for root, else the XDG state folder)",
    )
    return parser


def _global_first(argv: list[str]) -> list[str]:
    """`ktune status --state-dir X` means `ktune --state-dir X status`."""
    found, rest = _globals().parse_known_args(argv)
    return rest if found.state_dir is None else [f"--state-dir={found.state_dir}", *rest]


def _command_of(argv: list[str]) -> str | None:
    words = iter(_globals().parse_known_args(argv)[1])
    return next((word for word in words if not word.startswith("-")), None)


def _parser(name: str | None, command: Command | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ktune",
        parents=[_globals()],
        description="Finds better Linux kernel settings for a workload, proves that they are "
        "better, keeps them safe.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 no improvement, 4 refused, 5 drift, "
        "6 busy, 7 not trusted, 8 rolled back.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ktune {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for entry, line in COMMANDS.items():
        if entry == name and command is not None:
            command.add_parser(subparsers)
        else:
            subparsers.add_parser(entry, help=line, add_help=False)
    return parser


def _load(name: str) -> Command:
    return cast(Command, importlib.import_module(f"ktune.cli.{name}"))


def _unknown_command(name: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`ktune --help` lists the commands"
    return UsageError(f"there is no command {name!r}", hint=hint)


def _complain(error: KtuneError) -> int:
    if _debugging():
        _traceback()
    _to_stderr(f"ktune: {error.message}")
    if error.hint:
        _to_stderr(f"  hint: {error.hint}")
    return int(error.exit_code)


def _is_the_hosts(error: OSError) -> bool:
    return bool(error.filename) or error.errno in (*_DISK_FAULTS, *_SHORTAGES)


def _host_fault(error: OSError) -> int:
    """A full disk, no free process id, a missing right: the host's affair, not ours."""
    if _debugging():
        _traceback()
    short = error.errno in _SHORTAGES
    otherwise = "no process, memory or file descriptor to be had: " if short else "can't write: "
    where = f"{error.filename}: " if error.filename else otherwise
    _to_stderr(f"ktune: {where}{error.strerror}")
    if error.errno == errno.EACCES and os.geteuid() != 0:
        _to_stderr("  hint: it belongs to somebody else: run as root, or give another --state-dir")
    if short:
        _to_stderr("  hint: see the limits of this user and cgroup (ulimit -a, pids.max)")
    return ExitCode.FAILED


def _bug(error: Exception) -> int:
    if _debugging():
        _traceback()
    _to_stderr(
        f"ktune: {type(error).__name__}: {error}",
        f"  this is a bug in ktune; {DEBUG_VARIABLE}=1 shows where it happened",
    )
    return ExitCode.FAILED


def _debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _traceback() -> None:
    import traceback

    _to_stderr(traceback.format_exc())


def _to_stderr(*lines: str) -> None:
    try:
        sys.stdout.flush()
        for line in lines:
            sys.stderr.write(clean(line, keep="\n") + "\n")
        sys.stderr.flush()
    except OSError:
        _discard_output()


def _nobody_reads_stdout() -> bool:
    """A BrokenPipeError can also come from the guardian's socket: ask the pipe itself."""
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poller.poll(0))
    except (OSError, ValueError):
        return True


def _reader_left() -> int:
    """`ktune ... | head` is no fault worth a message."""
    _discard_output()
    return ExitCode.FAILED


def _discard_output() -> None:
    """Keep the interpreter from complaining when it flushes at its end (Python docs, signal)."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(null, stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
