"""What an approval is about: what will be in force, where, and how it is watched.

A proof says only what was measured. How a policy is looked after (the margin, the guardrails, what
follows a rollback) is written in the policy and in its study's profile, so that an approval of a
study names these too, and a policy that says anything else is not covered by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ktune.policy.model import PolicyDocument
from ktune.records.codec import RecordError
from ktune.records.study import Study

_OF_THE_PROFILE = ("safety", "objectives", "constraints", "workload", "fairness")
"""Sections of a profile that a watch goes by."""
_SHOWN = 60


def terms_of(document: PolicyDocument, profile: Mapping[str, Any] | None) -> dict[str, Any]:
    """The terms of a policy, as plain data.

    `profile`: what its watch is told by (`profile_of`, or another profile's own text as data);
    None where the study is not here, so that the policy can't be watched by it.
    """
    contexts = document.contexts
    found: dict[str, Any] = {
        "scope": document.scope_text,
        "baseline": {key: str(value) for key, value in document.baseline.items()},
        "assignment": {key: str(value) for key, value in document.assignment.items()},
        "watch": document.watch.model_dump(mode="json"),
        "guard": document.guard,
        "contexts": None if contexts is None else contexts.model_dump(mode="json", by_alias=True),
    }
    for part in _OF_THE_PROFILE:
        found[part] = None if profile is None else profile.get(part)
    return found


def profile_of(study: Study) -> Mapping[str, Any]:
    """The profile of a study as it was run, as plain data; empty where it kept none.

    Raises:
        RecordError: it can't be read.
    """
    text = study.manifest.profile_text
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RecordError(f"study {study.id}: its profile can't be read: {error}") from error
    return found if isinstance(found, dict) else {}


def as_plain_data(profile: Mapping[str, object]) -> Mapping[str, Any]:
    """A profile's sections as they come back from a study's record."""
    found: Mapping[str, Any] = json.loads(json.dumps(profile))
    return found


def differences(approved: Mapping[str, Any], terms: Mapping[str, Any]) -> tuple[str, ...]:
    """Where two terms differ, for people: `watch.margin: approved 0.02, here 0.2`.

    >>> differences({"scope": "host", "watch": {"alpha": 0.01}}, {"scope": "host", "watch": {}})
    ('watch.alpha: approved 0.01, here nothing',)
    """
    return tuple(_differences("", approved, terms))


def _differences(where: str, approved: Any, here: Any) -> Iterator[str]:
    if isinstance(approved, Mapping) and isinstance(here, Mapping):
        for key in sorted({*approved, *here}):
            yield from _differences(
                f"{where}.{key}" if where else key, approved.get(key), here.get(key)
            )
    elif approved != here:
        yield f"{where}: approved {_short(approved)}, here {_short(here)}"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
