"""The systemd units of persistence: their text, where they go, how they are enabled.

`systemd.service(5)` (quoting, exit statuses), `systemd.unit(5)` (conditions, specifiers). Standard
library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ktune.errors import KtuneError
from ktune.proxy.folders import private_folder
from ktune.records import atomic
from ktune.records.paths import StatePaths

APPLY_UNIT = "ktune-policies.service"
WATCH_UNIT = "ktune-watch.service"
SYSTEM_FOLDER = Path("/etc/systemd/system")
FOLDER_VARIABLE = "KTUNE_UNIT_DIR"
_TARGET = "multi-user.target"
_BOOTED = Path("/run/systemd/system")
"""sd_booted(3)."""
_RECORD = "units.json"

_APPLY = """\
# Written by `ktune apply --persist`, removed by `ktune rollback`.
[Unit]
Description=Apply the policies of ktune
After=systemd-sysctl.service systemd-modules-load.service
RequiresMountsFor={mount}
ConditionKernelCommandLine=!ktune=off
ConditionPathExistsGlob={state}/persisted/*.yaml

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={apply}
# A boot does not wait for ever; what was begun is undone.
TimeoutStartSec=5min

[Install]
WantedBy={target}
"""
_WATCH = """\
# Written by `ktune apply --persist`, removed by `ktune rollback`.
[Unit]
Description=Watch the policies of ktune
After={apply_unit}
Wants={apply_unit}
RequiresMountsFor={mount}
ConditionKernelCommandLine=!ktune=off
ConditionPathExistsGlob={state}/persisted/*.yaml

[Service]
Type=simple
ExecStart={watch}
# Whatever ended the watch and its guardian, nothing half done stays.
ExecStopPost={recover}
KillMode=mixed
Restart=on-failure
RestartSec=10s
# 2, 4, 7: a person is needed; 8: it has rolled the policy back.
RestartPreventExitStatus=2 4 7 8
SuccessExitStatus=143

[Install]
WantedBy={target}
"""


def boot_command(paths: StatePaths) -> list[str]:
    """What applies the persisted policies after a boot."""
    return [*_ktune(paths), "apply", "--boot"]


def watch_command(paths: StatePaths) -> list[str]:
    """What watches them."""
    return [*_ktune(paths), "watch", "--persisted", "--quiet"]


def unit_texts(paths: StatePaths) -> Mapping[str, str]:
    """Name -> text of each unit."""
    state = _escaped(str(paths.state))
    words = {
        "state": state,
        "mount": _in_quotes(state) if " " in state else state,
        "target": _TARGET,
        "apply_unit": APPLY_UNIT,
        "apply": quoted(boot_command(paths)),
        "watch": quoted(watch_command(paths)),
        "recover": quoted([*_ktune(paths), "recover"]),
    }
    return {APPLY_UNIT: _APPLY.format(**words), WATCH_UNIT: _WATCH.format(**words)}


def quoted(words: Sequence[str]) -> str:
    """A command line for `Exec...=`: every word in double quotes where it needs them."""
    return " ".join(_quoted(word) for word in words)


def unit_folder(option: str | None) -> Path | None:
    """Where units go: the option, else KTUNE_UNIT_DIR, else systemd's own folder where systemd
    runs; None: nowhere, there is no systemd here."""
    chosen = option or os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(os.path.abspath(chosen))
    return SYSTEM_FOLDER if _BOOTED.is_dir() else None


def install(folder: Path, paths: StatePaths) -> list[Path]:
    """Write and enable the units in `folder`; returns their files.

    Raises:
        KtuneError: the folder can't be written, or the state folder's name can't stand in a unit.
    """
    if any(ord(letter) < 32 for letter in str(paths.state)):
        raise KtuneError("the state folder's name has control characters: no unit can name it")
    written = []
    try:
        wants = folder / f"{_TARGET}.wants"
        wants.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, text in unit_texts(paths).items():
            atomic.write_text(folder / name, text)
            os.chmod(folder / name, 0o644)
            (wants / name).unlink(missing_ok=True)
            (wants / name).symlink_to(folder / name)
            written.append(folder / name)
        record = private_folder(paths.persisted) / _RECORD
        atomic.write_json(record, {"folder": str(folder)})
    except OSError as error:
        raise KtuneError(
            f"the units can't be installed: {error.filename or folder}: {error.strerror}",
            hint="--unit-dir names another folder",
        ) from error
    _reload(folder)
    return written


def remove(paths: StatePaths) -> list[Path]:
    """Disable and remove what `install` wrote; returns the files. Raises OSError."""
    record = paths.persisted / _RECORD
    try:
        folder = Path(str(json.loads(record.read_bytes())["folder"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []  # nothing was installed, or nobody can say where
    gone = []
    for name in (APPLY_UNIT, WATCH_UNIT):
        (folder / f"{_TARGET}.wants" / name).unlink(missing_ok=True)
        if (folder / name).exists():
            (folder / name).unlink()
            gone.append(folder / name)
    atomic.remove(record)
    _reload(folder)
    return gone


def is_running(folder: Path) -> bool:
    """Are its units those of a systemd that runs here?"""
    return folder == SYSTEM_FOLDER and _BOOTED.is_dir()


def _reload(folder: Path) -> None:
    """A running systemd learns of new and removed units; an image's folder is nobody's yet."""
    if not is_running(folder):
        return
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise KtuneError(
            f"systemd does not reload its units: {error}", hint="run: systemctl daemon-reload"
        ) from error


def _ktune(paths: StatePaths) -> list[str]:
    """This very installation, whatever PATH and the environment are at boot."""
    return [sys.executable, "-I", "-m", "ktune", f"--state-dir={paths.state}"]


def _quoted(word: str) -> str:
    plain = _escaped(word).replace("$", "$$")
    return plain if plain and not set(plain) & set(" \"'\\;") else _in_quotes(plain)


def _in_quotes(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """`%` begins a specifier."""
    return text.replace("%", "%%")
