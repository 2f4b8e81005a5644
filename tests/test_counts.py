"""Counts that people read agree in number: `counted` (ktune/kernel/wording.py) says them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ktune"
THINGS = re.compile(
    r" ((void|further|fresh|valid|unconfirmed|baseline) )?"
    r"(pair|window|trial|knob|setting|metric|lease|journal|time|finalist|contender|contradiction"
    r"|dimension|change|switche|write|other|run|object|constraint|candidate|context|leave|process"
    r"|studie|policie|alert|profile|file|error|problem|assignment|limit|sample|row|line)(e?s)\b"
)
NEVER_ONE = {
    "before pairs",  # of a calibration: 5 at least, as the next three
    "calibration.counted pairs",
    "case.pairs pairs",
    "found.pairs pairs",
    "estimate.pairs further pairs",  # 10 at least
    "n pairs",
    "guard.mean_pairs pairs",  # a rate
    "len(lines) lines",  # asked for above 1, as the next two
    "len(rule.margins) metrics",
    "self.finalists finalists",
    "len(shared.rows) rows",  # above a limit
    "math.exp(off) times",  # a ratio, as the next two
    "seen times",
    "times times",
    "event.value runs",  # a verb, as the next
    "name runs",
}
"""What is not a number that may be 1."""


def counts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of each number in an f-string that stands before a plural."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, after in zip(node.values, node.values[1:], strict=False):
            if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                found = THINGS.match(str(after.value))
                said = ast.unparse(value.value)
                if found and not said.isupper() and "counted(" not in said:
                    yield node.lineno, said + found[0]


def test_no_number_stands_before_a_plural_that_it_may_not_need() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {said}"
        for path in PACKAGE.rglob("*.py")
        for line, said in counts(ast.parse(path.read_text()))
        if said not in NEVER_ONE
    ]
    assert found == []


def test_a_count_that_does_not_agree_is_found() -> None:
    assert list(counts(ast.parse('f"{n} pairs, {counted(n, 1)} trials, {MAX} rows"'))) == [
        (1, "n pairs")
    ]
