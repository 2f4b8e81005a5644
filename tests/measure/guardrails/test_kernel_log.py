"""Lines of real kernels are recognised; what a user can make the kernel print is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.guardrails.kernel_log import (
    LogRecord,
    is_memcg_kill,
    parse_record,
    trouble_of,
)
from ktune.profile.guards import Trouble

LINES = {
    Trouble.OOPS: [
        "Oops: 0002 [#1] SMP PTI",
        "Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI",
        "Oops: 0000 [#1] SMP",
        "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
        "general protection fault: 0000 [#1] SMP PTI",
        "invalid opcode: 0000 [#1] SMP PTI",
        "BUG: unable to handle page fault for address: ffffffffffffffd8",
        "BUG: unable to handle kernel NULL pointer dereference at 0000000000000008",
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "Unable to handle kernel paging request at virtual address ffff8000",
        "Internal error: Oops: 0000000096000004 [#1] PREEMPT SMP",
        "kernel BUG at mm/slub.c:305!",
        "Kernel panic - not syncing: Fatal exception",
    ],
    Trouble.BUG: [
        "BUG: Bad page state in process swapper/0  pfn:3fb5c",
        "BUG: Bad page map in process cc1  pte:8000000123 pmd:7",
        "BUG: Bad rss-counter state mm:00000000d1 type:MM_ANONPAGES val:1",
        "BUG: scheduling while atomic: kworker/0:1/12/0x00000002",
        "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:283",
        "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!",
        "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0xa8/0xbc [kasan_test]",
        "BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143",
        "UBSAN: array-index-out-of-bounds in drivers/net/x.c:12:34",
    ],
    Trouble.WARNING: [
        "WARNING: CPU: 1 PID: 1234 at kernel/sched/core.c:3113 set_task_cpu+0x18c/0x1f0",
        "WARNING: CPU: 0 PID: 7 at ieee80211_tx+0x1/0x2 [mac80211]",
        "WARNING: net/core/dev.c:123 at skb_warn+0x1/0x2, CPU#0: swapper/0/0",
        "WARNING: drivers/x.c:9 at probe+0x1/0x2 [x], CPU#3: modprobe/812",
        "WARNING: at func+0x1/0x2, CPU#0: swapper/0/0",
    ],
    Trouble.LOCKUP: [
        "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [stress-ng:4242]",
        "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [x:1]",
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3",
        "watchdog: CPU4: Watchdog detected hard LOCKUP on cpu 5",
    ],
    Trouble.HUNG_TASK: [
        "INFO: task jbd2/sda1-8:123 blocked for more than 120 seconds.",
        "INFO: task a b: c:77 blocked for more than 122 seconds.",
        "INFO: task dd:9 blocked in I/O wait for more than 120 seconds.",
    ],
    Trouble.RCU_STALL: [
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu: INFO: rcu_sched self-detected stall on CPU",
        "INFO: rcu_sched_state detected stall on CPU 0 (t=105060 jiffies)",
        "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { P392 } 21382 jiffies",
    ],
    Trouble.HARDWARE: [
        "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 5: be00000000800400",
        "{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0",
    ],
    Trouble.IO_ERROR: [
        "I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2",
        "blk_update_request: I/O error, dev sdb, sector 0",
        "critical medium error, dev sdc, sector 123 op 0x0:(READ) flags 0x0",
        "Buffer I/O error on dev sdb1, logical block 0, lost async page write",
        "EXT4-fs error (device loop0): trigger_test_error:127: comm sh: probe",
        "BTRFS error (device sdb): bdev /dev/sdb errs: wr 1, rd 0, flush 0, corrupt 0, gen 0",
        'XFS (dm-0): metadata I/O error in "xfs_trans" at daddr 0x1 len 1 error 5',
        "ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen",
        "nvme nvme0: I/O 12 QID 3 timeout, aborting",
    ],
    Trouble.ALLOCATION: [
        "kworker/0:1: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL|__GFP_COMP)",
    ],
}
ALL = [(trouble, line) for trouble, lines in LINES.items() for line in lines]

HARMLESS = [
    "EXT4-fs (loop0): mounted filesystem 3c69eae2 r/w with ordered data mode. Quota mode: none.",
    "loop0: detected capacity change from 0 to 32768",
    "cgroup: fork rejected by pids controller in /ktune-test-5013",
    "python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,task=python,pid=7822,uid=0",
    "Memory cgroup out of memory: Killed process 7822 (python) total-vm:106668kB",
    "TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.",
    "clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable",
    "perf: interrupt took too long (2505 > 2500), lowering kernel.perf_event_max_sample_rate",
]

COMM_FIRST = [
    "{comm} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    "{comm}[123]: segfault at 0 ip 0000000000401136 sp 00007ffe error 6 in a[401000+1000]",
    "{comm}: potentially unexpected fatal signal 11.",
    "{comm} (123): drop_caches: 3",
    "{comm} (123) used greatest stack depth: 11024 bytes left",
    "{comm}: entered promiscuous mode",
    "{comm}: Caught signal 1 at x.c:1",
    "process '{comm}' started with executable stack",
    "warning: `{comm}' uses 32-bit capabilities (legacy support in use)",
    "br0: port 1({comm}) entered disabled state",
]
"""What any user can make the kernel print, with a name of up to 15 bytes of one's own."""


def kernel(text: str, level: int = 3) -> LogRecord:
    return LogRecord(0, level, 1, text)


@pytest.mark.parametrize(("trouble", "line"), ALL)
def test_a_line_of_trouble_is_recognised(trouble: Trouble, line: str) -> None:
    assert trouble_of(kernel(line, 4)) is trouble


@pytest.mark.parametrize("line", HARMLESS)
def test_a_harmless_line_is_not(line: str) -> None:
    assert trouble_of(kernel(line)) is None


def test_every_trouble_has_a_line() -> None:
    assert set(LINES) == set(Trouble)


@pytest.mark.parametrize("facility", [1, 3, 23, 127])
def test_user_space_can_not_report_trouble(facility: int) -> None:
    assert all(trouble_of(LogRecord(facility, 0, 1, line)) is None for _, line in ALL)


def test_notices_are_not_trouble() -> None:
    assert all(trouble_of(kernel(line, level)) is None for _, line in ALL for level in (5, 6, 7))


def test_no_name_of_a_program_makes_a_line_of_trouble() -> None:
    """Every beginning of every line of trouble as the name, in every line that has one."""
    names = {line[start : start + 15] for _, line in ALL for start in range(3)}
    names |= {line[:length] for _, line in ALL for length in range(16)}
    for name in names:
        for form in COMM_FIRST:
            text = form.format(comm=name)
            assert trouble_of(kernel(text, 0)) is None, text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=15))
def test_no_other_name_does_either(name: str) -> None:
    for form in COMM_FIRST:
        assert trouble_of(kernel(form.format(comm=name), 0)) is None


def test_a_record_is_read_as_the_kernel_writes_it() -> None:
    data = b"4,339,5140900,-,caller=T1;WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n SUBSYSTEM=x\n"

    assert parse_record(data) == LogRecord(0, 4, 339, "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2")
    assert parse_record(b"12,4734,11936402470,-;text\n") == LogRecord(1, 4, 4734, "text")


@given(st.binary(max_size=2000))
def test_hostile_records_are_records_or_nothing(data: bytes) -> None:
    record = parse_record(data)
    assert record is None or trouble_of(record) in {None, *Trouble}


@given(st.text(max_size=3000), st.integers(0, 7))
def test_any_text_is_judged(text: str, level: int) -> None:
    record = kernel(text, level)
    assert trouble_of(record) in {None, *Trouble}
    assert is_memcg_kill(record) in (True, False)


def test_only_the_kernel_can_say_that_a_cgroup_was_at_its_limit() -> None:
    line = "Memory cgroup out of memory: Killed process 7822 (python) total-vm:106668kB"
    assert is_memcg_kill(kernel(line))
    assert not is_memcg_kill(LogRecord(1, 3, 1, line))
    assert not is_memcg_kill(kernel("Out of memory: Killed process 1 (a) total-vm:1kB"))
