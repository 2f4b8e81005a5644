"""`ktune knobs list|show|search|check`: what the catalog knows, and whether this kernel agrees."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import Any

from ktune.catalog import Catalog, Kind, KnobEntry, Match, Risk, load_catalog
from ktune.catalog.observe import matches, observe
from ktune.cli.common import SubParsers, print_json, say, show, table
from ktune.errors import ExitCode, UsageError
from ktune.kernel.limits import host_facts
from ktune.kernel.values import Value, ValueFormatError, parse
from ktune.kernel.wording import counted


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "knobs",
        help="the catalog of kernel settings: list, show, search, check",
        description="The catalog of kernel settings. Reads the kernel, writes nothing on the host.",
    )
    parser.set_defaults(func=run)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every knob, one line each")
    listing.add_argument("--risk", choices=[item.value for item in Risk], help="only of this risk")
    listing.add_argument("--kind", choices=[item.value for item in Kind], help="only of this kind")
    one = actions.add_parser("show", help="all that is known of one knob, and its value here")
    one.add_argument("knob", metavar="KNOB", help="a sysctl name or a path below /sys")
    find = actions.add_parser("search", help="knobs whose name or meaning holds all the words")
    find.add_argument("words", metavar="WORD", nargs="+")
    check = actions.add_parser("check", help="entries that the running kernel contradicts")
    check.add_argument(
        "--read-only",
        action="store_true",
        help="do not try limits by writing in a new network namespace",
    )
    for action in (listing, one, find, check):
        action.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """List, show, search or check."""
    catalog = load_catalog()
    match args.action:
        case "list":
            return _list(
                [
                    entry
                    for entry in catalog
                    if args.risk in (None, entry.risk) and args.kind in (None, entry.kind)
                ],
                as_json=args.json,
            )
        case "search":
            return _list(_search(catalog, args.words), as_json=args.json)
        case "show":
            return _show(catalog, args.knob, as_json=args.json)
        case _:
            return _check(catalog, write=not args.read_only, as_json=args.json)


def _search(catalog: Catalog, words: Iterable[str]) -> list[KnobEntry]:
    wanted = [word.lower() for word in words]
    return [
        entry
        for entry in catalog
        if all(word in f"{entry.name} {entry.meaning} {entry.reason}".lower() for word in wanted)
    ]


def _list(entries: list[KnobEntry], *, as_json: bool) -> int:
    if as_json:
        print_json([_document(entry) for entry in entries])
        return ExitCode.OK
    say(*table([(item.name, item.risk.value, _line(item)) for item in entries], indent=""))
    tunable = sum(entry.tunable for entry in entries)
    say(f"{counted(len(entries), 'knob')}, {tunable} of them tunable")
    return ExitCode.OK


def _show(catalog: Catalog, key: str, *, as_json: bool) -> int:
    found = _resolve(catalog, key)
    here = {match.key: _here(match) for match in found}
    entry = found[0].entry
    if as_json:
        print_json({**_document(entry), "here": here})
        return ExitCode.OK
    say(entry.name, f"  {_line(entry)}", "")
    say(*table([(name, text) for name, text in _facts(entry) if text]))
    if entry.couplings:
        say("", "coupled with")
        say(*table([(item.kind.value, ", ".join(item.keys)) for item in entry.couplings]))
    say("", "here")
    say(*table(list(here.items()) or [("-", "no such file on this host")]))
    return ExitCode.OK


def _resolve(catalog: Catalog, key: str) -> list[Match]:
    """The files of a key, or of a pattern's own name. Raises UsageError for an unknown one."""
    entry = catalog.entry(key)
    if entry is not None:
        return list(matches(catalog, entry)) or [Match(key, entry, key)]
    match = catalog.find(key)
    if match is None:
        near = catalog.nearest(key)
        raise UsageError(
            f"the catalog does not know {key!r}, so it is never tuned",
            hint=f"did you mean {', '.join(near)}?" if near else "ktune knobs search WORD",
        )
    return [match]


def _here(match: Match) -> str:
    if match.entry.pattern and match.device is None:
        return "no such device on this host"
    item = observe(match.key, match.path)
    if item.text is None:
        return f"({item.why})"
    if not match.entry.tunable:
        return "(not shown)"
    try:
        return show(parse(match.entry.type, item.text))
    except ValueFormatError as error:
        return f"({error})"


def _facts(entry: KnobEntry) -> list[tuple[str, str]]:
    low, high = entry.limits(host_facts())
    limits = "" if low is None and high is None else f"{show(low)} to {show(high)}"
    default = show(entry.default) if entry.default is not None else ""
    needs = [entry.needs_capability or "", entry.condition]
    return [
        ("kind", entry.kind.value),
        ("type", f"{entry.type.value} {entry.unit and f'({entry.unit})'}".strip()),
        ("default", "; ".join(filter(None, (default, entry.default_note)))),
        ("limits here", limits),
        ("words", ", ".join(entry.choices or ())),
        ("special values", ", ".join(map(show, entry.special))),
        ("risk", ": ".join(filter(None, (entry.risk.value, entry.reason)))),
        ("takes effect", entry.takes_effect.value if entry.tunable else ""),
        ("needs", "; ".join(filter(None, needs))),
        ("settles in", f"{entry.settle_s:g} s" if entry.settle_s else ""),
        ("scope", "each network namespace" if entry.namespaced else "the host"),
        ("the kernel", _habits(entry)),
        ("kernels", _versions(entry)),
        ("source", entry.source),
    ]


def _habits(entry: KnobEntry) -> str:
    habits = (
        (entry.kernel_moves, "moves it by itself"),
        (entry.kernel_rounds, "may round what is written"),
        (entry.zero_unwritable, "does not take the 0 that it shows"),
    )
    return ", ".join(text for holds, text in habits if holds)


def _versions(entry: KnobEntry) -> str:
    since = f"from {entry.since[0]}.{entry.since[1]}" if entry.since else ""
    until = f"up to {entry.until[0]}.{entry.until[1]}" if entry.until else ""
    return " ".join(filter(None, (since, until)))


def _line(entry: KnobEntry) -> str:
    return entry.meaning if entry.tunable else entry.reason


def _document(entry: KnobEntry) -> dict[str, Any]:
    low, high = entry.limits(host_facts())
    return {
        "name": entry.name,
        "kind": entry.kind.value,
        "type": entry.type.value,
        "unit": entry.unit,
        "length": entry.length,
        "meaning": entry.meaning,
        "default": _plain(entry.default),
        "default_note": entry.default_note,
        "min": _plain(low),
        "max": _plain(high),
        "choices": entry.choices and list(entry.choices),
        "special": [_plain(value) for value in entry.special],
        "risk": entry.risk.value,
        "reason": entry.reason,
        "couplings": [
            {"kind": item.kind.value, "keys": list(item.keys)} for item in entry.couplings
        ],
        "takes_effect": entry.takes_effect.value,
        "needs_capability": entry.needs_capability,
        "settle_s": entry.settle_s,
        "namespaced": entry.namespaced,
        "kernel_moves": entry.kernel_moves,
        "kernel_rounds": entry.kernel_rounds,
        "since": entry.since and f"{entry.since[0]}.{entry.since[1]}",
        "until": entry.until and f"{entry.until[0]}.{entry.until[1]}",
        "condition": entry.condition,
        "source": entry.source,
    }


def _plain(value: Value | None) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check(catalog: Catalog, *, write: bool, as_json: bool) -> int:
    from ktune.catalog.check import run_check

    report = run_check(catalog, write_in_netns=write)
    code = ExitCode.FAILED if report.contradictions else ExitCode.OK
    if as_json:
        print_json(
            {
                "read": list(report.read),
                "missing": list(report.missing),
                "findings": [
                    {"level": item.level.value, "key": item.key, "text": item.text}
                    for item in report.findings
                ],
                "limits_tried": report.limits_tried,
                "notes": list(report.notes),
            }
        )
        return code
    for item in report.findings:
        say(f"{item.level.value}: {item.key}: {item.text}")
    say(*(f"note: {text}" for text in report.notes))
    say(
        f"{len(report.read)} read here, {len(report.missing)} missing as declared, "
        f"{counted(len(report.contradictions), 'contradiction')}"
    )
    if report.limits_tried:
        tried = counted(report.limits_tried, "limit")
        say(f"{tried} tried by writing, in a network namespace of the check's own")
    return code
