"""Where the state lives: studies, journals, policies in force, history. Standard library only.

The guardian and `ktune status` import this, so it stays light. Locations follow
file-hierarchy(7) for root and the XDG base directory specification for everybody else.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from ktune.errors import RefusedError
from ktune.proxy.folders import private_folder

ROOT_STATE = Path("/var/lib/ktune")
ROOT_RUNTIME = Path("/run/ktune")
STATE_VARIABLE = "KTUNE_STATE_DIR"
CALIBRATIONS = "calibrations"
CONTEXTS = "contexts"
_LOOSE_ROOT = 0o022
_LOOSE = 0o002
"""Ordinary users' folders are often writable to a group of their own (umask 002)."""


@dataclass(frozen=True)
class StatePaths:
    """The two roots of everything ktune keeps.

    `state` survives a reboot; `runtime` (locks, sockets, registered journals) does not. The
    runtime folder does not follow `--state-dir`: two runs with different state folders still
    have to see each other's locks.
    """

    state: Path
    runtime: Path

    @classmethod
    def resolve(cls, state_dir: str | os.PathLike[str] | None = None) -> StatePaths:
        """`--state-dir`, else KTUNE_STATE_DIR, else the customary place of this user."""
        chosen = state_dir or os.environ.get(STATE_VARIABLE)
        state = Path(os.path.abspath(chosen)) if chosen else _customary_state()
        if os.geteuid() == 0:
            return cls(state, ROOT_RUNTIME)
        return cls(state, _xdg("XDG_RUNTIME_DIR", state / "run", child="ktune"))

    @property
    def studies(self) -> Path:
        """One folder per study."""
        return self.state / "studies"

    @property
    def calibrations(self) -> Path:
        """One folder per calibration, built like a study."""
        return self.state / CALIBRATIONS

    @property
    def contexts(self) -> Path:
        """One folder per `tune --contexts`, built like a study."""
        return self.state / CONTEXTS

    @property
    def watches(self) -> Path:
        """One folder per watched policy and scope."""
        return self.state / "watches"

    @property
    def journal(self) -> Path:
        """Journals of leases: what a restore needs."""
        return self.state / "journal"

    @property
    def policies(self) -> Path:
        """The stack of policies in force, one file each."""
        return self.state / "policies"

    @property
    def persisted(self) -> Path:
        """Policies that are applied after every boot."""
        return self.state / "persisted"

    @property
    def history(self) -> Path:
        """Who changed what, when and why: one JSON object a line, append-only."""
        return self.state / "history.jsonl"

    def command(self, *words: str) -> str:
        """A `ktune` command line that means this state folder in any shell: undo commands are
        read later, where KTUNE_STATE_DIR may be another."""
        option = [] if self.state == _customary_state() else [f"--state-dir={self.state}"]
        return shlex.join(["ktune", *option, *words])

    def refuse_unsafe(self) -> StatePaths:
        """Where others may write, a record can be replaced by a link to any file of ours.

        Raises:
            RefusedError: a folder that is there belongs to somebody else, or others may write it.
        """
        for folder in (
            self.state,
            self.studies,
            self.calibrations,
            self.contexts,
            self.watches,
            self.journal,
            self.policies,
            self.persisted,
            self.runtime,
        ):
            try:
                found = folder.stat()
            except OSError:
                continue  # missing, or closed to us: whoever uses it will say so
            if found.st_uid not in (0, os.geteuid()):
                raise RefusedError(
                    f"{folder} belongs to another user (uid {found.st_uid}), who could replace "
                    "what is recorded there",
                    hint="--state-dir names a folder of your own",
                )
            if found.st_mode & (_LOOSE_ROOT if os.geteuid() == 0 else _LOOSE):
                raise RefusedError(
                    f"others may write to {folder}, and so replace what is recorded there",
                    hint=f"chmod go-w {shlex.quote(str(folder))}, or --state-dir names another",
                )
        return self

    def ensure(self) -> StatePaths:
        """Make the folders (0700) that are missing. Raises OSError."""
        for folder in (self.studies, self.journal, self.policies, self.runtime):
            private_folder(folder)
        return self


def _customary_state() -> Path:
    if os.geteuid() == 0:
        return ROOT_STATE
    return _xdg("XDG_STATE_HOME", Path.home() / ".local/state") / "ktune"


def _xdg(variable: str, otherwise: Path, *, child: str = "") -> Path:
    """The specification has a relative path in an XDG variable ignored."""
    value = os.environ.get(variable, "")
    return Path(value) / child if os.path.isabs(value) else otherwise
