"""The JSON form of a plan (`ktune plan --json`): stable names, plain data, no file text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ktune.kernel.values import Value
from ktune.profile.plan import FORMAT, Plan, PlannedKnob
from ktune.profile.space import Dimension, DimensionKind
from ktune.profile.tool_checks import metric_loops


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Every decision of the plan; vectors are lists."""
    scope = plan.scope
    return {
        "format": FORMAT,
        "profile": plan.profile.name,
        "profile_digest": plan.profile_digest,
        "scope": scope if isinstance(scope, str) else {"netns": scope.netns},
        "host": {
            "kernel": plan.host.kernel,
            "arch": plan.host.arch,
            "virt": plan.host.virt,
            "cpus": plan.host.cpus,
            "mem_bytes": plan.host.mem_bytes,
        },
        "knobs": [_knob(knob) for knob in plan.knobs],
        "fixed": [_knob(knob) for knob in plan.fixed],
        "skipped": [asdict(item) for item in plan.skipped],
        "relations": [str(relation) for relation in plan.relations],
        "baseline": _assignment(plan.baseline),
        "expert": [_assignment(item) for item in plan.expert],
        "journaled": list(plan.journaled),
        "tuners": [asdict(tuner) for tuner in plan.tuners],
        "loops": {name: asdict(loop) for name, loop in metric_loops(plan.profile.workload).items()},
        "notes": list(plan.notes),
        "expected_duration_s": round(plan.estimate.expected_s, 1),
        "estimate": {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(plan.estimate).items()
        },
    }


def _knob(knob: PlannedKnob) -> dict[str, Any]:
    entry = knob.entry
    return {
        "key": knob.key,
        "path": knob.tunable.path,
        "kind": entry.kind.value,
        "type": entry.type.value,
        "unit": entry.unit,
        "risk": entry.risk.value,
        "meaning": entry.meaning,
        "takes_effect": entry.takes_effect.value,
        "needs_capability": entry.needs_capability,
        "current": _plain(knob.current),
        "baseline": _plain(knob.baseline),
        "minimum": _plain(knob.minimum),
        "maximum": _plain(knob.maximum),
        "choices": None if knob.choices is None else list(knob.choices),
        "special": [_plain(value) for value in knob.special],
        "dimensions": [_dimension(dimension) for dimension in knob.dimensions],
        "coupled": list(knob.coupled),
        "writable": knob.writable,
        "notes": list(knob.notes),
    }


def _dimension(dimension: Dimension) -> dict[str, Any]:
    if dimension.kind is DimensionKind.CHOICE:
        choices = [_plain(value) for value in dimension.choices]
        return {"name": dimension.name, "kind": dimension.kind.value, "choices": choices}
    return {
        "name": dimension.name,
        "kind": dimension.kind.value,
        "low": dimension.low,
        "high": dimension.high,
        "step": dimension.step,
        "log": dimension.log,
        "special": [_plain(value) for value in dimension.special],
    }


def _assignment(assignment: Any) -> dict[str, Any]:
    return {key: _plain(value) for key, value in assignment.items()}


def _plain(value: Value | None) -> int | str | list[int] | None:
    return list(value) if isinstance(value, tuple) else value
