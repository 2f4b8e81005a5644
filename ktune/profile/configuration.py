"""The administrator's configuration of this machine: `/etc/ktune/config.yaml`.

Unlike a profile or a policy it is trusted: it may name programs to run. So it counts only where
nobody else could have written it: owned by root or the caller, and not writable by group or others.
"""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.profile.fairness import Fairness, first_said
from ktune.profile.fields import Duration, Model, Text, wrong
from ktune.profile.translate import validate
from ktune.profile.yaml12 import MAX_BYTES, load_yaml

ROOT_FILE = Path("/etc/ktune/config.yaml")
FILE_VARIABLE = "KTUNE_CONFIG"
_LOOSE = 0o022


class HookEvent(StrEnum):
    """What hooks are told of."""

    PROVEN = "proven"
    APPROVED = "approved"
    APPLIED = "applied"
    ROLLED_BACK = "rolled_back"
    EMERGENCY = "emergency"


def _argv(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words[0].startswith("/"):
        raise wrong("the program of a hook is an absolute path")
    if any("\0" in word for word in words):
        raise wrong("a hook can't hold a NUL")
    return words


Argv = Annotated[tuple[Text, ...], Field(min_length=1, max_length=64), AfterValidator(_argv)]


class Configuration(Model):
    """What the administrator decides for all profiles and policies."""

    approval: Literal["required", "none"] = Field(
        default="none",
        description="Whether every policy needs `ktune approve` before `ktune apply`.",
        examples=["required"],
    )
    hooks: dict[HookEvent, tuple[Argv, ...]] = Field(
        default_factory=dict,
        description="Programs to run on events, with the event as JSON on standard input.",
        examples=[{"rolled_back": [["/usr/local/bin/page-me", "ktune"]]}],
    )
    hook_timeout: Duration = Field(
        default=10.0,
        gt=0,
        le=300,
        description="A hook that runs longer is killed.",
        examples=["10s"],
    )
    metric_hosts: tuple[Text, ...] = Field(
        default=(),
        max_length=256,
        description="Hosts besides loopback whose metric pages profiles may name.",
        examples=[["10.1.2.3", "metrics.example.org"]],
    )
    fairness: Fairness = Field(
        default_factory=Fairness,
        description="What may happen around a window here, where a profile says nothing.",
        examples=[{"others": "40%"}],
    )


class UnsafeConfigurationError(KtuneError):
    """Others could have written the configuration (exit 7)."""

    exit_code = ExitCode.UNTRUSTED


def configuration() -> Configuration:
    """Of all files that count here; approval is required where one of them says so.

    Raises UnsafeConfigurationError, ProfileError (with position).
    """
    found = [item for item in map(load, configuration_files()) if item is not None]
    hooks: dict[HookEvent, tuple[Argv, ...]] = {}
    for item in found:
        for event, programs in item.hooks.items():
            hooks[event] = (*hooks.get(event, ()), *programs)
    required = any(item.approval == "required" for item in found)
    return Configuration().model_copy(
        update={
            "approval": "required" if required else "none",
            "hooks": hooks,
            "hook_timeout": min((item.hook_timeout for item in found), default=10.0),
            "metric_hosts": tuple(host for item in found for host in item.metric_hosts),
            "fairness": first_said(*(item.fairness for item in found)),
        }
    )


def configuration_files() -> tuple[Path, ...]:
    """The administrator's, then that of an ordinary user (XDG base directory specification);
    KTUNE_CONFIG names another file instead of both."""
    chosen = os.environ.get(FILE_VARIABLE)
    if chosen:
        return (Path(os.path.abspath(chosen)),)
    if os.geteuid() == 0:
        return (ROOT_FILE,)
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path.home() / ".config"
    return (ROOT_FILE, base / "ktune" / "config.yaml")


def load(path: Path) -> Configuration | None:
    """One file; None where there is none. Raises as `configuration`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if os.environ.get(FILE_VARIABLE):  # a slip in the name must not lift what it demands
            raise UsageError(f"{path}, which {FILE_VARIABLE} names, does not exist") from None
        return None
    except OSError as error:
        raise UnsafeConfigurationError(f"{path} can't be read: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        _refuse_unsafe(path, os.fstat(fd), os.stat(path.parent))
        data = file.read(MAX_BYTES + 1)
    return validate(Configuration, load_yaml(data, file=str(path)))


def _refuse_unsafe(path: Path, found: os.stat_result, folder: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeConfigurationError(f"{path} is no regular file")
    for where, item in ((path, found), (path.parent, folder)):
        if item.st_uid not in (0, os.geteuid()):
            raise UnsafeConfigurationError(
                f"{where} belongs to another user (uid {item.st_uid}): it may name programs to run",
                hint=f"chown root {where}",
            )
        # in a folder with the sticky bit (such as /tmp) nobody can replace another's file
        if item.st_mode & _LOOSE and not (where != path and item.st_mode & stat.S_ISVTX):
            raise UnsafeConfigurationError(
                f"others may write {where}: it may name programs to run",
                hint=f"chmod go-w {where}",
            )
