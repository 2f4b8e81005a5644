"""What a study found, as plain lines: for `ktune report` and `ktune studies show`.

Standard library only. The search's own numbers are never called a gain here: the reported gain
comes from pairs measured after the decision, and carries its interval.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ktune.evidence.pairs import Arm
from ktune.kernel.values import Value
from ktune.kernel.wording import counted
from ktune.records.codec import encode
from ktune.records.front import Front, read_front
from ktune.records.gains import (
    UNCERTAIN,
    change_text,
    directions_of,
    gain_text,
    uncertain,
    uncertain_lines,
    worse_text,
)
from ktune.records.readiness import Readiness, read_readiness
from ktune.records.search import Screening, SearchRecord, read_search
from ktune.records.shares import window_shares
from ktune.records.study import Study
from ktune.records.types import (
    Phase,
    Proof,
    ProofOutcome,
    StudyManifest,
    StudyStatus,
    SwitchingRecord,
    WindowRecord,
)
from ktune.records.unfair import unfair_lines, unfair_of

_UNPROVEN = {
    StudyStatus.RUNNING: "The study is still running: nothing is confirmed yet.",
    StudyStatus.INTERRUPTED: "The study was interrupted: nothing is confirmed.",
    StudyStatus.FINISHED: "The search is over, nothing was confirmed.",
    StudyStatus.FAILED: "The study failed: nothing is confirmed.",
    StudyStatus.NO_IMPROVEMENT: "No improvement found.",
    StudyStatus.PROVEN: "Improved.",
}


def without_secrets(storage: str) -> str:
    """A storage URL fit to be passed on: no password, no options (they may hold one).

    >>> without_secrets("postgresql://me:s3cret@db/optuna?sslpassword=x")
    'postgresql://me:***@db/optuna'
    """
    return re.sub(r"(://[^/:@]*):.*@", r"\1:***@", storage).partition("?")[0]


def report_lines(study: Study) -> Iterator[str]:
    """The whole report, one line at a time.

    Raises:
        RecordError: a record can't be read.
        KtuneError: the proof does not match its digests.
    """
    proof = study.proof()
    yield from _head(study)
    yield ""
    yield from _found(study, proof)
    log = study.windows()
    if log.records:
        yield ""
        yield from _windows(log.records)
    if log.torn:
        yield "  the last record is torn (its writer died) and was left out"


def search_document(study: Study) -> dict[str, Any]:
    """What the search did besides measuring, as plain data; how its windows were shared out.

    Raises:
        RecordError: a record can't be read.
    """
    record = read_search(study.folder) or SearchRecord()
    shares = window_shares(study.windows().records)
    windows = {"new": shares.new, "again": shares.again, "again_share": round(shares.share, 3)}
    return {**encode(record), "windows": windows}


def _head(study: Study) -> Iterator[str]:
    manifest = study.manifest
    host = manifest.host
    yield f"study {study.id}: {manifest.profile_name}"
    yield f"  status      {study.status.value}{f' ({manifest.reason})' if manifest.reason else ''}"
    ended = f", ended {manifest.ended_at}" if manifest.ended_at else ""
    yield f"  began       {manifest.created_at}{ended}"
    yield f"  scope       {manifest.scope}"
    if phase := manifest.options.get("phase"):
        yield f"  phase       {phase}, of contexts {manifest.options.get('contexts')}"
    for text, names in latency_loops(manifest).items():
        yield f"  latency     {', '.join(names)}: {text}"
    record = read_search(study.folder) or SearchRecord()
    projected = (
        f", {counted(len(record.projection), 'knob')} projected to "
        f"{counted(min(len(record.projection), record.dimensions), 'dimension')}"
        if record.projection and record.dimensions
        else ""
    )
    yield f"  search      {manifest.sampler}, seed {manifest.seed}{projected}"
    for look in record.screenings:
        yield f"  screening   {_screening(look)}"
    if record.pruned:
        pruned = counted(record.pruned, "setting")
        yield f"  pruning     {pruned} behind the best not measured further"
    for note in record.warm_notes:
        yield f"  warm start  {note}"
    if record.warm_notes:
        yield f"  warm start  {len(record.warm)} of them measured here again, first of all"
    if host:
        said = [str(host[name]) for name in ("kernel", "arch", "virt") if host.get(name)]
        if host.get("cpus"):
            said.append(f"{host['cpus']} CPUs")
        if isinstance(host.get("mem"), int):
            said.append(f"{host['mem'] / 1024**3:.1f} GiB")
        yield f"  host        {', '.join(said)}"
    found = read_readiness(study.folder)
    if found is not None:
        yield from _calibration(found)


def latency_loops(manifest: StudyManifest) -> dict[str, list[str]]:
    """How the load of latency metrics was offered, and of which, by the plan of the study."""
    loops = manifest.plan.get("loops")
    found: dict[str, list[str]] = {}
    for name, loop in loops.items() if isinstance(loops, Mapping) else ():
        if isinstance(loop, Mapping) and loop.get("text"):
            found.setdefault(str(loop["text"]), []).append(str(name))
    return found


def _calibration(found: Readiness) -> Iterator[str]:
    """What was known of the noise before the search."""
    proof, noise = found.proof, found.noise
    of = f"calibration {found.source}" if found.source else "before the search"
    yield (
        f"  calibration {counted(found.pairs, 'pair')}, {of}: sd of a pair {noise.sd:.2%} (at most "
        f"{noise.high:.2%})"
    )
    if proof.gain > 0:
        yield (
            f"              a gain of {proof.gain:.2%} is shown in {proof.power:.0%} of proofs of "
            f"{counted(proof.pairs_allowed, 'pair')}: {'ready' if found.ready else 'NOT ready'}"
        )
    for problem in found.problems:
        yield f"              not ready: {problem}"
    for item in found.helps:
        yield f"              would help: {item}"


def _screening(look: Screening) -> str:
    after = f"after {counted(look.assignments, 'setting')}: "
    if not look.clear:
        return after + "no knob stood out of the noise, none was dropped"
    if not look.dropped:
        return after + "every knob was kept"
    said = ", ".join(
        f"{item.name} (importance {item.importance:.3g}, as large by luck in {item.p:.0%})"
        for item in look.dropped
    )
    return after + f"no effect seen, left at the baseline: {said}"


def _found(study: Study, proof: Proof | None) -> Iterator[str]:
    if proof is None:
        yield _UNPROVEN[study.status]
        front = read_front(study.folder)
        if front is not None:
            yield from _front(front, study.manifest)
        return
    if proof.outcome is not ProofOutcome.IMPROVED or proof.gain is None:
        said = (
            "No improvement found"
            if proof.outcome is ProofOutcome.NO_IMPROVEMENT_FOUND
            else ("The confirmation was stopped: nothing is confirmed")
        )
        yield f"{said}{f': {proof.reason}' if proof.reason else ''}."
        yield from _rule(proof)
        return
    gain, directions = proof.gain, directions_of(study.manifest)
    direction = directions.get(gain.metric)
    said = gain_text(gain.metric, gain.estimate, gain.interval, gain.level, direction)
    how_much = f", {UNCERTAIN}" if uncertain(gain.interval) else ""
    after = counted(proof.pairs.after, "pair")
    yield f"Improved{how_much}: {said}, from {after} after the decision."
    for line in uncertain_lines(gain.interval, study.id, proof.pairs.after):
        yield f"  {line}"
    yield from _rule(proof)
    for goal in proof.objectives:
        held = "held" if goal.held else "NOT held"
        own = directions.get(goal.metric)
        said = gain_text(goal.metric, goal.estimate, goal.interval, goal.level, own)
        yield (
            f"  objective   {said}; at worst {worse_text(goal.worst)} "
            f"(allowed: {goal.margin:.1%} worse): {held}"
        )
    for item in proof.constraints:
        held = "held" if item.held else "NOT held"
        yield (
            f"  constraint  {item.metric}: {worse_text(item.change)}, at worst "
            f"{worse_text(item.upper)} (allowed: {item.margin:.1%} worse): {held}"
        )
    if proof.claimed_by_search is not None:
        yield (
            f"  the search alone would have claimed "
            f"{change_text(proof.claimed_by_search, direction)} "
            "(picked the best of many: not a gain)"
        )
    for key, value in proof.others_wrote.items():
        yield f"  measured beside {key} = {_text(value)}, which somebody else wrote"
    yield ""
    yield "Settings:"
    yield from _settings(proof.baseline, proof.assignment)


def _front(front: Front, manifest: StudyManifest) -> Iterator[str]:
    """Trades, each the best of many in its direction: no gain of it may be quoted."""
    directions, baseline = directions_of(manifest), manifest.baseline
    trades = counted(len(front.points), "unconfirmed trade")
    yield f"Front of {trades} ({front.why}); gains read too high:"
    for point in front.points:
        gains = ", ".join(
            f"{name} {change_text(gain, directions.get(name))}"
            for name, gain in point.gains.items()
        )
        beyond = (
            f"; beyond the profile's margin: {', '.join(point.beyond_margin)}"
            if point.beyond_margin
            else ""
        )
        windows = f"{point.windows} window{'s' if point.windows > 1 else ''}"
        yield f"  trial {point.trial}: {gains} ({windows}{beyond})"
        for key, value in point.assignment.items():
            if baseline.get(key) != value:
                yield f"    {key}  {_text(baseline.get(key))} -> {_text(value)}"
    if not front.points:
        yield "  none: nothing measured beats the baseline in any objective without losing in all"


def _rule(proof: Proof) -> Iterator[str]:
    rule, pairs = proof.rule, proof.pairs
    fired = f"{rule.fired} fired" if rule.fired else "no test fired"
    value = "" if rule.e_value is None else f", E = {rule.e_value:.4g}"
    limit = "" if rule.threshold is None else f" (threshold {rule.threshold:g})"
    yield f"  rule        {' or '.join(rule.tests)} at alpha {rule.alpha:g}: {fired}{value}{limit}"
    yield f"  pairs       {pairs.decision} for the decision, {pairs.after} after it, " + (
        f"{pairs.void} void, {pairs.lost} lost"
    )
    if proof.switching is not None:
        yield f"  switched by {_switching(proof.switching)}"
    if pairs.outliers:
        yield (
            f"  outliers    {pairs.outliers} of these far out, and counted like the others: "
            "what one pair can count for is bounded"
        )


def _switching(found: SwitchingRecord) -> str:
    because = f" ({found.why})" if found.why else ""
    if not found.kernel_windows:
        return f"{found.by}{because}"
    windows = counted(found.kernel_windows, "window")
    return (
        f"{found.by}{because}: {windows} within the kernel's stamps; sides of a pair held "
        f"{1000 * found.worst_skew_s:.1f} ms apart at most, a switch took up to "
        f"{1000 * found.worst_switch_s:.1f} ms"
    )


def _settings(baseline: Mapping[str, Value], chosen: Mapping[str, Value]) -> Iterator[str]:
    """What changes; then, on one line, what was searched and stays."""
    keys = sorted(chosen, key=lambda name: (name.startswith("/"), name))
    changed = [key for key in keys if chosen[key] != baseline.get(key)]
    width = max((len(key) for key in changed), default=0)
    for key in changed:
        yield f"  {key.ljust(width)}  {_text(baseline.get(key))} -> {_text(chosen[key])}"
    if len(changed) < len(keys):
        yield f"  as in the baseline: {', '.join(key for key in keys if key not in changed)}"


def _windows(records: tuple[WindowRecord, ...]) -> Iterator[str]:
    yield "Windows:"
    for phase in Phase:
        own = [record for record in records if record.phase is phase]
        if not own:
            continue
        by_validity = Counter(record.validity for record in own)
        said = ", ".join(f"{count} {name}" for name, count in sorted(by_validity.items()))
        seconds = sum(record.duration_s for record in own)
        yield f"  {phase.value:<11}  {len(own)} in {seconds:.0f} s ({said})"
    for line in unfair_lines(unfair_of(records)):
        yield f"  disturbed    {line}"
    shares = window_shares(records)
    if shares.new:
        yield (
            f"  search       {counted(shares.new, 'window')} of new candidates, {shares.again} "
            f"measured the best again ({shares.share:.0%})"
        )
    proving = [record for record in records if record.phase in (Phase.DECISION, Phase.AFTER)]
    voided = {
        Arm.BASELINE: sum(r.arm is Arm.BASELINE and r.validity != "valid" for r in proving),
        Arm.CANDIDATE: sum(r.arm is Arm.CANDIDATE and r.validity == "void" for r in proving),
    }
    if any(voided.values()):
        # Side by side: a candidate that voids its own bad windows would bias the proof.
        counts = ", ".join(f"{count} in the {arm.value}'s" for arm, count in voided.items())
        yield f"  pairs voided by a window: {counts}"


def _text(value: Value | None) -> str:
    if value is None:
        return "?"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
