"""What a plan says of change windows, whatever the time is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ktune.profile.change_windows import parse_window
from ktune.profile.load import parse_profile
from ktune.profile.run_rules import rule_lines, run_rules
from tests.profile.examples import HERE

PROFILE = parse_profile(
    (HERE / "good" / "live-service.yaml").read_bytes(), file="live-service.yaml"
)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        # Saturday noon; Monday 01:30 in Berlin; Monday 05:00 in Berlin, when the window closes
        (datetime(2026, 11, 21, 12, tzinfo=UTC), "open now, until 2026-11-23T00:00+01:00"),
        (datetime(2026, 11, 23, 0, 30, tzinfo=UTC), "CLOSED now: tune refuses (exit 4) until 2026"),
        (datetime(2026, 11, 23, 4, 0, tzinfo=UTC), "until 2026-11-24T02:00+01:00"),
    ],
)
def test_the_plan_says_whether_the_change_window_is_open(now: datetime, said: str) -> None:
    lines = list(rule_lines(run_rules(PROFILE, now, approval_here=False)))
    (line,) = [line for line in lines if line.startswith("change windows")]
    assert said in line


def test_the_machine_may_want_an_approval_too() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert run_rules(PROFILE, now, approval_here=True).approval == "this machine's configuration"


@pytest.mark.parametrize(
    "text", ["Mon,Tue,Wed,Thu,Fri 02:00-05:00", "Sat,Sun 00:00-24:00", "22:00-04:30"]
)
def test_a_change_window_is_written_as_it_is_read(text: str) -> None:
    assert parse_window(text).text == text
