"""Writes what is made from the catalog's YAML: `python -m ktune.catalog.generate [--check]`.

The guardian's allow-list: it uses the standard library only, so it reads JSON; only what it
enforces is in it, and only knobs that profiles may set. The kernel module's allow-list
(ktune.catalog.kernel_rules), where the sources of the module are. And the catalog itself as one
JSON file, which every command reads in a tenth of the time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ktune.catalog import kernel_rules
from ktune.catalog.catalog import Catalog
from ktune.catalog.loader import PREBUILT, read_entries, read_raw
from ktune.catalog.model import Bound, KnobEntry
from ktune.kernel.values import Value

ALLOWLIST = Path(__file__).resolve().parent.parent / "proxy" / "allowlist.json"
KERNEL_RULES = Path(__file__).resolve().parents[2] / "kmod" / "kt_allowlist.h"
FORMAT = 1


def render(entries: Iterable[KnobEntry]) -> str:
    """The allow-list as text: one line for each knob, in the order of names."""
    knobs = sorted((_knob(entry) for entry in entries if entry.tunable), key=lambda k: k["name"])
    lines = ",\n".join(json.dumps(knob, ensure_ascii=True) for knob in knobs)
    return f'{{"format": {FORMAT}, "knobs": [\n{lines}\n]}}\n'


def render_catalog(raw: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole catalog as text: one line for each knob, in the order of the files."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(raw[name])}" for name in raw)
    return f"{{\n{lines}\n}}\n"


def stale() -> list[str]:
    """The files on disk that differ from what the YAML says. Raises CatalogError."""
    return [path.name for path, text in _made().items() if not _holds(path, text)]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or with --check only say (exit 1) which are stale."""
    parser = argparse.ArgumentParser(prog="python -m ktune.catalog.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    options = parser.parse_args(argv)
    if options.check:
        found = stale()
        said = f"stale: {', '.join(found)}; run this without --check" if found else "all current"
        print(said)
        return int(bool(found))
    for path, text in _made().items():
        path.write_text(text, encoding="ascii")
        print(f"wrote {path.name}")
    return 0


def _made() -> dict[Path, str]:
    entries = Catalog(read_entries())
    made = {ALLOWLIST: render(entries), PREBUILT: render_catalog(read_raw())}
    if KERNEL_RULES.parent.is_dir():  # an installed ktune has no sources of the module
        made[KERNEL_RULES] = kernel_rules.render(entries)
    return made


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="ascii") == text
    except FileNotFoundError:
        return False


def _knob(entry: KnobEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind.value,
        "type": entry.type.value,
        "min": _json(entry.minimum),
        "max": _json(entry.maximum),
        "choices": None if entry.choices is None else list(entry.choices),
        "special": [_json(value) for value in entry.special],
        "length": entry.length,
        "namespaced": entry.namespaced,
        "kernel_moves": entry.kernel_moves,
        "kernel_rounds": entry.kernel_rounds,
        "zero_unwritable": entry.zero_unwritable,
        "couplings": [
            {"kind": coupling.kind.value, "keys": list(coupling.keys)}
            for coupling in entry.couplings
        ],
    }


def _json(value: Bound | Value) -> Any:
    return list(value) if isinstance(value, tuple) else value


if __name__ == "__main__":
    sys.exit(main())
