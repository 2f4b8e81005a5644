"""Records of the kernel log, and which of them are trouble. Pure functions.

Format: Documentation/ABI/testing/dev-kmsg: `priority,sequence,microseconds,flags;text`, priority =
facility * 8 + level. The kernel's own facility is 0, and a writer in user space can't take it
(devkmsg_write in kernel/printk/printk.c): only that one counts. Many lines of the kernel begin
with a name that any user can choose (15 bytes of a program's or an interface's name, as in
`NAME invoked oom-killer: ...`), so every pattern is anchored at the start and asks for more than
15 bytes of such a name could spell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ktune.profile.guards import Trouble

_WARNING_LEVEL = 4
_LONGEST_TEXT = 1024


@dataclass(frozen=True)
class LogRecord:
    """One record; `level` 0 (emergency) to 7 (debug), `facility` 0 is the kernel."""

    facility: int
    level: int
    sequence: int
    text: str


_RECORD = re.compile(rb"([0-9]{1,6}),([0-9]{1,20}),[0-9]{1,20},[^;\n]{0,200};([^\n]*)")

_PATTERNS: tuple[tuple[Trouble, str], ...] = (
    # arch/x86/kernel/dumpstack.c, arch/x86/mm/fault.c, arch/arm*/mm/fault.c, lib/bug.c
    (Trouble.OOPS, r"Oops: (?:\w+: )?[0-9a-f]{4,16} \[#\d+\](?: [A-Z][A-Za-z_()]*)* ?$"),
    (Trouble.OOPS, r"(?:Oops: )?[a-z][a-z -]{4,60}(?:, .{0,80})?: [0-9a-f]{4,16} \[#\d+\]"),
    (Trouble.OOPS, r"BUG: (?:unable to handle |kernel NULL pointer dereference)"),
    (Trouble.OOPS, r"Unable to handle kernel "),
    (Trouble.OOPS, r"Internal error: .{0,80}\[#\d+\]"),
    (Trouble.OOPS, r"kernel BUG at \S+:\d+!"),
    (Trouble.OOPS, r"Kernel panic - not syncing"),
    # mm/page_alloc.c, kernel/sched/core.c, kernel/workqueue.c, mm/kasan/report.c, lib/ubsan.c
    (Trouble.BUG, r"BUG: (?:Bad page (?:state|map) in process |Bad rss-counter state )"),
    (Trouble.BUG, r"BUG: (?:scheduling while atomic: |sleeping function called from )"),
    (Trouble.BUG, r"BUG: (?:workqueue lockup - pool|stack guard page was hit )"),
    (Trouble.BUG, r"BUG: (?:KASAN|KFENCE|KMSAN|KCSAN): [\w -]{1,60} in \S+\+0x"),
    (Trouble.BUG, r"UBSAN: [\w -]{1,60} in \S+:\d+:\d+"),
    # kernel/panic.c, before and since 6.19
    (Trouble.WARNING, r"WARNING: CPU: \d+ PID: \d+ at \S+"),
    (Trouble.WARNING, r"WARNING: (?:\S+:\d+ )?at \S+(?: \[\w+\])?, CPU#\d+: "),
    # kernel/watchdog*.c, kernel/hung_task.c, kernel/rcu/
    (Trouble.LOCKUP, r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#\d+ stuck for "),
    (Trouble.LOCKUP, r"(?:NMI )?watchdog: (?:CPU\d+: )?(?:Watchdog detected|BUG:) hard LOCKUP "),
    (
        Trouble.HUNG_TASK,
        r"INFO: task .{1,80}:\d+ blocked (?:in I/O wait )?for more than \d+ seconds",
    ),
    (
        Trouble.RCU_STALL,
        r"(?:rcu: )?INFO: rcu\w{0,30} (?:self-)?detected (?:expedited )?stalls? on ",
    ),
    # drivers/edac, arch/x86/kernel/cpu/mce, drivers/firmware/efi/cper.c
    (Trouble.HARDWARE, r"(?:mce: |\{\d+\})?\[Hardware Error\]: "),
    # block/blk-core.c, fs/buffer.c, fs/ext4/super.c, fs/btrfs, fs/xfs, drivers/ata, drivers/nvme
    (
        Trouble.IO_ERROR,
        r"(?:\w{1,30}: )?(?:I/O|timeout|protection|critical \w{1,12}) error, dev \S+, sector \d+",
    ),
    (Trouble.IO_ERROR, r"Buffer I/O error on dev(?:ice)? \S+, logical block \d+"),
    (Trouble.IO_ERROR, r"EXT[234]-fs error \(device \S+\): "),
    (Trouble.IO_ERROR, r"BTRFS (?:error|critical) \(device "),
    (Trouble.IO_ERROR, r"XFS \(\S+\): .{0,80}(?:I/O error|[Cc]orruption)"),
    (Trouble.IO_ERROR, r"ata\d{1,3}(?:\.\d\d)?: exception Emask 0x"),
    (Trouble.IO_ERROR, r"nvme nvme\d+: (?:I/O .{1,40} timeout|controller is down)"),
    # mm/page_alloc.c: here the name in front is part of the line
    (Trouble.ALLOCATION, r".{1,16}: page allocation failure: order:\d+"),
)
_COMPILED = tuple((trouble, re.compile(pattern)) for trouble, pattern in _PATTERNS)

_MEMCG_KILL = re.compile(r"Memory cgroup out of memory: Kill(?:ed)? process \d+ \(")
"""One for each task that a cgroup's own limit killed (__oom_kill_process in mm/oom_kill.c)."""


def parse_record(data: bytes) -> LogRecord | None:
    """One read(2) of /dev/kmsg; None when it is no record."""
    match = _RECORD.match(data)
    if match is None:
        return None
    priority = int(match[1])
    text = match[3][:_LONGEST_TEXT].decode("ascii", "replace")
    return LogRecord(priority >> 3, priority & 7, int(match[2]), text)


def trouble_of(record: LogRecord) -> Trouble | None:
    """What the record reports; None when it is not the kernel's, not a warning, or harmless.

    >>> trouble_of(LogRecord(0, 4, 1, "WARNING: CPU: 0 PID: 7 at mm/slub.c:1 kfree+0x1/0x2"))
    <Trouble.WARNING: 'warning'>
    >>> trouble_of(LogRecord(1, 4, 1, "WARNING: CPU: 0 PID: 7 at mm/slub.c:1 kfree+0x1/0x2"))
    """
    if record.facility != 0 or record.level > _WARNING_LEVEL:
        return None
    for trouble, pattern in _COMPILED:
        if pattern.match(record.text):
            return trouble
    return None


def is_memcg_kill(record: LogRecord) -> bool:
    """Whether a task was killed at the limit of its memory cgroup, not for want of the machine's
    memory."""
    return record.facility == 0 and bool(_MEMCG_KILL.match(record.text))
