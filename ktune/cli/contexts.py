"""`ktune tune PROFILE --contexts`, and how what it found is shown."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ktune.cli.common import percent, print_json, say, show, state_paths
from ktune.errors import ExitCode, UsageError
from ktune.kernel.wording import counted
from ktune.records.codec import encode
from ktune.records.contexts import ContextsRecord, LeafRecord, read_contexts
from ktune.records.study import Study

if TYPE_CHECKING:
    from ktune.modes.run import RunOptions

_FOR_ONE_STUDY = ("confirm", "pareto", "search_only", "keep_scope")


def run(args: Namespace, options: RunOptions) -> int:
    """Learn; exit 3 where no adaptive policy came of it."""
    for name in _FOR_ONE_STUDY:
        if getattr(args, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is for a single study, not for --contexts")
    from ktune.modes.contexts.run import resume_contexts, tune_contexts
    from ktune.report.live import open_view

    paths = state_paths(args)
    with open_view(quiet=args.quiet) as view:
        if args.resume:
            done = resume_contexts(args.resume, options, paths, view)
        else:
            done = tune_contexts(args.profile, options, paths, view)
    found = done.record.tree is not None
    code = ExitCode.OK if found else ExitCode.NO_IMPROVEMENT
    if args.json:
        print_json({"contexts": done.study.id, "exit_code": int(code)} | encode(done.record))
        return code
    say(*lines(done.study), "")
    if found:
        say(f"next: {paths.command('freeze', done.study.id, '-o', 'policy.yaml')}")
    return code


def lines(study: Study) -> Iterator[str]:
    """The report. Raises RecordError."""
    manifest = study.manifest
    yield f"contexts {study.id}: {manifest.profile_name}"
    yield f"  status      {study.status.value}{f' ({manifest.reason})' if manifest.reason else ''}"
    yield f"  began       {manifest.created_at}"
    yield f"  seed        {manifest.seed}"
    record = read_contexts(study.folder)
    if record is None:
        return
    yield ""
    for leaf in record.leaves:
        yield from _leaf(leaf, record)
    if record.tree is not None:
        yield ""
        yield from tree_lines(record.tree)


def tree_lines(tree: Any, indent: str = "") -> Iterator[str]:
    """A tree for people; `tree` as it stands in the policy."""
    if isinstance(tree, str):
        yield f"{indent}{tree}"
        return
    yield f"{indent}{tree['when']}?"
    for word, key in (("yes", "then"), ("no", "else")):
        below = list(tree_lines(tree[key], indent + "  "))
        yield f"{indent}  {word}: {below[0].strip()}"
        yield from (f"  {line}" for line in below[1:])


def standing(study: Study) -> str:
    """One line for the list."""
    record = read_contexts(study.folder)
    if record is None:
        return "contexts: no answer yet"
    if record.tree is None:
        return "contexts: no adaptive policy"
    names = ", ".join(leaf.name for leaf in record.leaves)
    return f"contexts: {counted(len(record.leaves), 'setting')}, {names}"


def _leaf(leaf: LeafRecord, record: ContextsRecord) -> Iterator[str]:
    proof = f"proven in study {leaf.study}" if leaf.study else "the baseline: nothing better proven"
    yield f"{leaf.name} ({', '.join(leaf.phases)}): {proof}"
    for key, value in leaf.assignment.items():
        yield f"  {key}  {show(record.baseline.get(key))} -> {show(value)}"
    if leaf.name in record.errors:
        windows = counted(record.samples.get(leaf.name, 0), "window")
        error = percent(record.errors[leaf.name])
        yield f"  of {windows}, {error} taken for another's (held out)"
