"""`ktune profile`: list, show, init, validate, recommend."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ktune.cli import recommend
from ktune.cli.common import SubParsers, print_json, say, state_paths, table, warn
from ktune.errors import ExitCode, KtuneError, UsageError


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "profile",
        help="profiles: list, show, init, validate, recommend",
        description="Profiles are data: nothing here changes the system or runs a workload.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="shipped and local profiles")
    showing = verbs.add_parser("show", help="a profile with everything it inherits")
    starting = verbs.add_parser("init", help="write a commented profile to start from")
    checking = verbs.add_parser("validate", help="check files; every problem with its place")
    recommending = verbs.add_parser(
        "recommend",
        help="which profiles fit what runs here",
        description="Looks at processes, listening sockets and, for a few seconds, at the mix of "
        "work; names the profiles that fit, best first, and why. Reads only.",
    )
    recommend.add_arguments(recommending)
    for verb in (listing, showing, checking, recommending):
        verb.add_argument("--json", action="store_true", help="for programs")
    showing.add_argument("profile", metavar="PROFILE", help="a file, or the name of a profile")
    starting.add_argument("name", metavar="NAME", help="name of the new profile")
    starting.add_argument("-o", "--output", metavar="FILE", help="default: NAME.yaml")
    checking.add_argument("profiles", metavar="PROFILE", nargs="+", help="files or names")
    return parser


def run(args: Namespace) -> int:
    """Do the verb."""
    verbs = {
        "list": _list,
        "show": _show,
        "init": _init,
        "validate": _validate,
        "recommend": recommend.run,
    }
    return verbs[args.verb](args)


def _list(args: Namespace) -> int:
    from ktune.profile import locate
    from ktune.profile.errors import ProfileError
    from ktune.profile.load import read_bytes
    from ktune.profile.yaml12 import load_yaml

    rows: list[dict[str, Any]] = []
    for name, path in sorted(locate.available(locate.default_search_path()).items()):
        try:
            keys = load_yaml(read_bytes(path), file=str(path)).mapping
            summary = str(keys["summary"].value) if "summary" in keys else ""
        except (ProfileError, UsageError) as error:
            summary = f"unreadable: {error.message}"
        rows.append({"name": name, "summary": summary, "path": str(path)})
    if args.json:
        print_json(rows)
    else:
        say(*table([(row["name"], row["summary"]) for row in rows], indent=""))
    return ExitCode.OK


def _show(args: Namespace) -> int:
    from ktune.profile import locate
    from ktune.profile.load import load_profile

    path = locate.profile_argument(args.profile)
    profile = load_profile(path, state_dir=str(state_paths(args).state))
    if args.json:
        data = dict(profile.source.flattened)
        print_json({"path": str(path), "digest": profile.digest, "profile": data})
        return ExitCode.OK
    say(f"# {path}", f"# digest: {profile.digest}")
    say(*profile.text.splitlines())
    return ExitCode.OK


def _init(args: Namespace) -> int:
    from ktune.profile.template import template

    path = Path(args.output or f"{args.name}.yaml")
    text = template(args.name)
    try:
        # "x": an existing file is never overwritten.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already", hint="choose another file with -o") from None
    except OSError as error:
        raise KtuneError(f"can't write {path}: {error.strerror}") from None
    say(f"wrote {path}", f"next: edit it, then ktune plan {path}")
    return ExitCode.OK


def _validate(args: Namespace) -> int:
    """Checks every file even when one is wrong; fails with all their problems.

    What the catalog refuses on every host counts; what depends on this host is `plan`'s to say.
    """
    from ktune.catalog.catalog import load_catalog
    from ktune.profile import locate
    from ktune.profile.errors import PlanRefusedError, Problem, ProfileError
    from ktune.profile.gates import pass_gates
    from ktune.profile.load import load_profile
    from ktune.profile.probation import probation_problems

    results: list[dict[str, Any]] = []
    problems: list[Problem] = []
    refused: list[Problem] = []
    warnings: list[Problem] = []
    for argument in args.profiles:
        path = locate.profile_argument(argument)
        found: tuple[Problem, ...] = ()
        warned: tuple[Problem, ...] = ()
        try:
            profile = load_profile(path, state_dir=str(state_paths(args).state))
            found = tuple(pass_gates(profile, load_catalog()).refused)
            refused.extend(found)
            warned = tuple(probation_problems(profile))
            warnings.extend(warned)
        except ProfileError as error:
            found = error.problems
            problems.extend(found)
        results.append(
            {
                "path": str(path),
                "problems": [_as_json(item) for item in found],
                "warnings": [_as_json(item) for item in warned],
            }
        )
    if args.json:
        print_json(results)
        if problems:
            return ExitCode.USAGE
        return ExitCode.REFUSED if refused else ExitCode.OK
    for result in results:
        if not result["problems"]:
            say(f"{result['path']}: valid")
    for item in warnings:
        warn(f"warning: {item}")
    if problems:
        raise ProfileError([*problems, *refused])
    if refused:
        raise PlanRefusedError(refused)
    return ExitCode.OK


def _as_json(problem: Any) -> dict[str, Any]:
    mark = problem.mark
    return {
        "file": mark.file,
        "line": mark.line,
        "column": mark.column,
        "message": problem.message,
    }
