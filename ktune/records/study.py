"""A study on disk: `studies/<id>/` with manifest, windows, proof. Standard library only.

The promise: whatever kills the writer, a reader finds every finished window, and at most the
last line of `windows.jsonl` is torn (reported, never guessed). `ktune status` reads this, so
nothing heavy is imported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ktune.errors import BusyError, ExitCode, KtuneError, UsageError
from ktune.proxy.folders import private_folder
from ktune.records import atomic, clock
from ktune.records.codec import RecordError, decode, encode
from ktune.records.paths import CALIBRATIONS, CONTEXTS, StatePaths
from ktune.records.stored import read_record
from ktune.records.types import (
    Proof,
    ProofOutcome,
    StudyManifest,
    StudyStatus,
    WindowLog,
    WindowRecord,
)

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{2,8}\Z")
_MANIFEST, _WINDOWS, _PROOF = "study.json", "windows.jsonl", "proof.json"


def new_study_id(moment: datetime | None = None) -> str:
    """When it began (UTC) and two random hexadecimal digits: `20261121-101500-7c`."""
    moment = moment or datetime.now(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{os.urandom(1).hex()}"


def is_study_id(text: str) -> bool:
    """Whether it has the form of a study's id."""
    return _ID.match(text) is not None


class Study:
    """One study folder, open for reading and for appending."""

    def __init__(self, folder: Path, manifest: StudyManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def create(
        cls, paths: StatePaths, manifest: StudyManifest, *, under: Path | None = None
    ) -> Study:
        """Make the folder of a new study that this process runs.

        An empty `id` or `created_at` is filled in; `under` is another place than the studies'.
        Raises OSError.
        """
        parent = private_folder(under or paths.studies)
        filled = dataclasses.replace(
            manifest,
            created_at=manifest.created_at or clock.now(),
            runner=manifest.runner or clock.this_process(),
        )
        folder, study_id = _claim_folder(parent, filled.id)
        study = cls(folder, dataclasses.replace(filled, id=study_id))
        study._save()
        atomic.sync_folder(parent)
        return study

    @classmethod
    def open(cls, paths: StatePaths, study_id: str, *, under: Path | None = None) -> Study:
        """Open an existing study, or a calibration (`under` its folder).

        Raises:
            UsageError: there is none of that name (nearest names in the hint).
            RecordError: its manifest can't be read.
        """
        parent = under or paths.studies
        folder = parent / study_id
        if not _ID.match(study_id) or not (folder / _MANIFEST).is_file():
            raise _no_such_study(parent, study_id)
        return cls(folder, _read_manifest(folder))

    @property
    def id(self) -> str:
        """The name people use for it."""
        return self.manifest.id

    @property
    def calibrates(self) -> bool:
        """Is it a calibration?"""
        return self.folder.parent.name == CALIBRATIONS

    @property
    def adapts(self) -> bool:
        """Is it a `tune --contexts`?"""
        return self.folder.parent.name == CONTEXTS

    @property
    def optuna_journal(self) -> Path:
        """The journal file of the search."""
        return self.folder / "optuna.journal"

    @property
    def windows_path(self) -> Path:
        """One JSON object a line."""
        return self.folder / _WINDOWS

    @property
    def status(self) -> StudyStatus:
        """As recorded, except that a study whose runner died is interrupted, not running."""
        manifest = self.manifest
        if manifest.status is StudyStatus.RUNNING and not (
            manifest.runner and clock.alive(manifest.runner)
        ):
            return StudyStatus.INTERRUPTED
        return manifest.status

    def resume(self, *, options: Mapping[str, Any] | None = None) -> None:
        """Make this process the runner again; a proof of something else goes.

        `options` replaces those of the run before. Raises as `refuse_resume`.
        """
        self.refuse_resume()
        atomic.remove(self.folder / _PROOF)
        self._update(
            status=StudyStatus.RUNNING,
            reason="",
            ended_at="",
            runner=clock.this_process(),
            options=self.manifest.options if options is None else options,
        )

    def refuse_resume(self) -> None:
        """Asked before anything else is looked at: the baseline of a run under way is not in force.

        Raises:
            BusyError: another process runs it.
            UsageError: it is proven, there is nothing left to do.
        """
        if self.status is StudyStatus.RUNNING and self.manifest.runner != clock.this_process():
            what = "calibration" if self.calibrates else "study"
            raise BusyError(f"{what} {self.id} is still running")
        if self.status is StudyStatus.PROVEN:
            raise UsageError(
                f"study {self.id} is proven already",
                hint=f"`ktune freeze {self.id} -o policy.yaml`",
            )

    def discard(self) -> bool:
        """Remove a study in which nothing was measured; False when there is something to keep."""
        if self.windows_path.exists():
            return False
        shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def end(self, status: StudyStatus, reason: str = "") -> None:
        """Record how it ended. Raises OSError."""
        self._update(status=status, reason=reason, ended_at=clock.now(), runner=None)

    def append_window(self, record: WindowRecord, *, sync: bool = True) -> None:
        """Add one window; with `sync` it survives a power cut. Raises OSError."""
        line = json.dumps(encode(record), separators=(",", ":"), allow_nan=False)
        atomic.append_line(self.windows_path, line, sync=sync)

    def windows(self) -> WindowLog:
        """Every window that was written completely.

        Raises:
            RecordError: a line before the last is damaged (not a crash: somebody edited it).
        """
        try:
            data = self.windows_path.read_bytes()
        except FileNotFoundError:
            return WindowLog(())
        whole, _, tail = data.rpartition(b"\n")
        records = tuple(
            _window(line, f"{self.windows_path}:{number}")
            for number, line in enumerate(whole.split(b"\n") if whole else (), start=1)
        )
        return WindowLog(records, torn=bool(tail))

    def write_proof(self, proof: Proof) -> Proof:
        """Record how the confirmation ended, and end the study so. Raises OSError.

        Returns the proof with its digests filled in.
        """
        sealed = _seal(dataclasses.replace(proof, windows_digest=self._windows_digest()))
        atomic.write_json(self.folder / _PROOF, encode(sealed))
        ended = {
            ProofOutcome.IMPROVED: StudyStatus.PROVEN,
            ProofOutcome.NO_IMPROVEMENT_FOUND: StudyStatus.NO_IMPROVEMENT,
            ProofOutcome.STOPPED: StudyStatus.INTERRUPTED,
        }
        self.end(ended[sealed.outcome], sealed.reason)
        return sealed

    def proof(self) -> Proof | None:
        """The proof, or None while there is none.

        Raises:
            KtuneError: it or the windows it rests on were changed afterwards (exit 7).
            RecordError: it can't be read.
        """
        proof = read_record(Proof, self.folder / _PROOF)
        if proof is None:
            return None
        if _seal(proof).digest != proof.digest or proof.windows_digest != self._windows_digest():
            raise KtuneError(
                f"the proof of study {self.id} does not match its digests: "
                "it or its windows were changed after it was recorded",
                hint="nothing can be built on it any more: tune again",
                exit_code=ExitCode.UNTRUSTED,
            )
        return proof

    def _update(self, **changes: object) -> None:
        self.manifest = dataclasses.replace(self.manifest, **changes)  # type: ignore[arg-type]
        self._save()

    def _save(self) -> None:
        atomic.write_json(self.folder / _MANIFEST, encode(self.manifest))

    def _windows_digest(self) -> str:
        try:
            return "sha256:" + hashlib.sha256(self.windows_path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return ""


def list_studies(paths: StatePaths, *, under: Path | None = None) -> Iterator[Study | RecordError]:
    """All studies, oldest first; one that can't be read comes as its error.

    `under`: as in `Study.open`.
    """
    for name in _ids(under or paths.studies):
        try:
            yield Study.open(paths, name, under=under)
        except RecordError as error:
            yield error
        except UsageError:
            continue


def _ids(parent: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(parent) if _ID.match(name))
    except FileNotFoundError:
        return []


def _claim_folder(parent: Path, study_id: str) -> tuple[Path, str]:
    """mkdir decides who gets a name when two runs start in the same second."""
    while True:
        name = study_id or new_study_id()
        try:
            (parent / name).mkdir(mode=0o700)
        except FileExistsError:
            if study_id:
                raise
            continue
        return parent / name, name


def _no_such_study(parent: Path, study_id: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(study_id, _ids(parent), n=3, cutoff=0.5)
    what = "calibration" if parent.name == CALIBRATIONS else "study"
    return UsageError(
        f"no {what} {study_id!r} in {parent}",
        hint=f"did you mean {', '.join(near)}?" if near else "`ktune studies list` shows them",
    )


def _read_manifest(folder: Path) -> StudyManifest:
    path = folder / _MANIFEST
    manifest = read_record(StudyManifest, path)
    if manifest is None:
        raise RecordError(f"{path}: is not there")
    return manifest


def _window(line: bytes, where: str) -> WindowRecord:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not JSON ({error})") from error
    return decode(WindowRecord, data, where)


def _seal(proof: Proof) -> Proof:
    body = encode(dataclasses.replace(proof, digest=""))
    if proof.switching is None:  # what earlier versions sealed
        del body["switching"]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return dataclasses.replace(proof, digest="sha256:" + hashlib.sha256(text.encode()).hexdigest())
