"""Where profiles and schemas lie: in a checkout, or inside an installed wheel."""

from __future__ import annotations

from pathlib import Path

from ktune.errors import UsageError
from ktune.profile.errors import did_you_mean, shown

LOCAL_PROFILES = Path("/etc/ktune/profiles")
SUFFIXES = (".yaml", ".yml")
_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_dir(what: str) -> Path:
    """The folder `profiles` or `schemas`: `ktune/data/...` of a wheel, else of the checkout."""
    installed = _PACKAGE / "data" / what
    return installed if installed.is_dir() else _PACKAGE.parent / what


def default_search_path() -> tuple[Path, ...]:
    """Where profile names are looked up, besides the folder of the file that names them."""
    return (LOCAL_PROFILES, shipped_dir("profiles"))


def available(search_path: tuple[Path, ...]) -> dict[str, Path]:
    """Every profile by name; a folder that comes earlier hides the later ones' names."""
    found: dict[str, Path] = {}
    for folder in search_path:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix in SUFFIXES and path.is_file():
                    found.setdefault(path.stem, path)
    return found


def find(name: str, search_path: tuple[Path, ...]) -> Path | None:
    """The file of a profile name; None where there is none. Raises UsageError for a path."""
    if not name or "/" in name or "\\" in name or "\0" in name or name.startswith("."):
        raise UsageError(f"{shown(name)} is no profile name: it must not hold path separators")
    for folder in search_path:
        for suffix in SUFFIXES:
            path = folder / (name + suffix)
            if path.is_file():
                return path
    return None


def profile_argument(argument: str) -> Path:
    """The file that a command's PROFILE argument means: a path, or the name of a profile.

    Raises UsageError naming the nearest known profile.
    """
    path = Path(argument)
    if "/" in argument or path.suffix in SUFFIXES:
        if path.is_dir():
            raise UsageError(f"{argument} is a folder, not a profile")
        if not path.exists():
            raise UsageError(f"no such file: {argument}", hint="ktune profile list shows names")
        return path
    found = find(argument, default_search_path())
    if found is None:
        known = available(default_search_path())
        raise UsageError(
            f"no profile named {shown(argument)}{did_you_mean(argument, known)}",
            hint="ktune profile list shows the names; a path works too",
        )
    return found
