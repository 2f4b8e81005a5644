"""Was a guest's run good? Pure: what came over its serial lines in, the verdict out."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMPLAINT = re.compile(
    r"BUG:|BUG [\w.:-]+ \(|WARNING:|\bOops\b|Kernel panic|KASAN:|UBSAN:|KCSAN:|kmemleak:"
    r"|general protection fault|[Uu]nable to handle|possible (?:circular|recursive) locking"
    r"|possible irq lock inversion|suspicious RCU usage|inconsistent lock state|ODEBUG:"
    r"|refcount_t:|list_(?:add|del) corruption|INFO: task .* blocked|detected stalls?\b"
    r"|self-detected stall|Objects remaining in|cannot create duplicate|sleeping function called"
    r"|scheduling while atomic|segfault at"
)
"""What a kernel says when something is wrong with it or, last, with a program that it ran."""
_TAIL = 40


@dataclass(frozen=True)
class Verdict:
    """`code`: the command's exit code, None when the guest never told; `problems`: for people."""

    code: int | None
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return self.code == 0 and not self.problems


def judge(kernel_log: str, output: str, *, marker: str, ended: bool, limit_s: float) -> Verdict:
    """`marker` is a word of this run only, before the exit code; `ended`: QEMU ended by itself."""
    found = re.search(rf"{re.escape(marker)} exit=(\d+)", output)
    code = int(found[1]) if found else None
    problems = [
        f"the kernel complained: {line.strip()}"
        for line in kernel_log.splitlines()
        if COMPLAINT.search(line)
    ]
    if not ended:
        problems.append(f"hung: no end within {limit_s:.0f} s\n{_ends(kernel_log, output)}")
    elif code is None:
        problems.append(f"ended without an exit code\n{_ends(kernel_log, output)}")
    return Verdict(code, tuple(problems))


def _ends(kernel_log: str, output: str) -> str:
    return f"--- the kernel's last words\n{_tail(kernel_log)}\n--- the last output\n{_tail(output)}"


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_TAIL:]) or "(nothing)"
