"""Writes the guardian's allow-list from the catalog: `python -m ktune.catalog.generate [--check]`.

The guardian uses the standard library only, so it reads JSON instead of the catalog's YAML. Only
what it enforces is in it, and only knobs that profiles may set.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ktune.catalog.catalog import load_catalog
from ktune.catalog.model import Bound, KnobEntry
from ktune.kernel.values import Value

ALLOWLIST = Path(__file__).resolve().parent.parent / "proxy" / "allowlist.json"
FORMAT = 1


def render(entries: Iterable[KnobEntry]) -> str:
    """The allow-list as text: one line for each knob, in the order of names."""
    knobs = sorted((_knob(entry) for entry in entries if entry.tunable), key=lambda k: k["name"])
    lines = ",\n".join(json.dumps(knob, ensure_ascii=True) for knob in knobs)
    return f'{{"format": {FORMAT}, "knobs": [\n{lines}\n]}}\n'


def is_stale() -> bool:
    """Whether the file on disk differs from what the catalog says."""
    try:
        return ALLOWLIST.read_text(encoding="ascii") != render(load_catalog())
    except FileNotFoundError:
        return True


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, or with --check only say (exit 1) that it is stale."""
    parser = argparse.ArgumentParser(prog="python -m ktune.catalog.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    options = parser.parse_args(argv)
    if options.check:
        stale = is_stale()
        print(f"{ALLOWLIST.name} is {'stale: run this without --check' if stale else 'current'}")
        return int(stale)
    ALLOWLIST.write_text(render(load_catalog()), encoding="ascii")
    print(f"wrote {ALLOWLIST.name}")
    return 0


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
