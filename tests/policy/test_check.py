"""Whether a policy may be applied on a host: pure, against the real catalog."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.policy.check import check
from ktune.policy.load import parse_policy
from ktune.profile.errors import PlanRefusedError
from ktune.profile.host import HostFacts
from ktune.records.paths import StatePaths

from . import support

GIB = 1 << 30
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = tmp_path_factory.mktemp("state")
    return support.policy_text(StatePaths(root, root / "run"), host=support.FACTS)


def host(kernel="6.1.0-30-amd64", arch="x86_64", mem=int(31.2 * GIB)):
    numbers = {
        "mem.total_bytes": mem,
        "mem.total_kib": mem >> 10,
        "mem.total_pages": mem >> 12,
        "cpu.count": 8,
        "page.bytes": 4096,
    }
    return HostFacts(kernel, arch, "kvm", numbers)


def run(text, *, on=None, now=NOW, in_namespace=True):
    return check(
        parse_policy(text.encode(), path="p.yaml"),
        host=on or host(),
        catalog=load_catalog(),
        now=now,
        in_namespace=in_namespace,
    )


def test_values_are_typed_by_the_catalog(text):
    checked = run(text)
    assert dict(checked.assignment) == dict(support.NET_ASSIGNMENT)


@pytest.mark.parametrize("kernel", ["6.2.0", "6.10.3", "5.15.0", "6.0.99", "7.1.0"])
def test_another_kernel_series_does_not_fit(text, kernel):
    with pytest.raises(PlanRefusedError, match=r"p\.yaml:[0-9]+:[0-9]+: made for kernel"):
        run(text, on=host(kernel=kernel))


def test_less_memory_does_not_fit_but_what_firmware_keeps_is_forgiven(text):
    with pytest.raises(PlanRefusedError, match="made for memory"):
        run(text, on=host(mem=8 * GIB))
    run(text, on=host(mem=int(15.4 * GIB)))


def test_another_architecture_does_not_fit(text):
    with pytest.raises(PlanRefusedError, match="proven on x86_64"):
        run(text, on=host(arch="aarch64"))


def test_an_old_policy_is_refused(text):
    with pytest.raises(PlanRefusedError, match="valid until"):
        run(text, now=datetime(2226, 12, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("kernel.core_pattern", "|/tmp/x", "never tuned|does not know"),
        ("kernel.modprobe", "/tmp/x", "never tuned|does not know"),
        ("/proc/sys/kernel/core_pattern", "|/tmp/x", "does not know"),
        ("/etc/passwd", "root", "does not know"),
        ("/sys/block/../../../etc/passwd", 1, "does not know"),
        ("vm.swappines", 10, r"did you mean vm\.swappiness"),
        ("net.ipv4.tcp_rmem", "1 2 999999999999999", "outside the hard limits"),
        ("net.ipv4.tcp_rmem", "4096 131072", "outside the hard limits"),
        ("net.ipv4.tcp_rmem", "lots", "expected an integer"),
        ("net.ipv4.tcp_rmem", "010 011 012", "leading zero"),
        ("vm.swappiness", 10, "belongs to the whole host"),
    ],
)
def test_a_knob_that_must_not_be_set_is_refused(text, key, value, said):
    hostile = support.edited(text, assignment={key: value}, baseline={key: value})
    with pytest.raises(PlanRefusedError, match=said):
        run(hostile)


def test_every_reason_comes_at_once(text):
    hostile = support.edited(
        text,
        assignment={"vm.nonsense": 1, "kernel.modprobe": "/x"},
        baseline={"vm.nonsense": 1, "kernel.modprobe": "/x"},
    )
    with pytest.raises(PlanRefusedError) as caught:
        run(hostile, on=host(kernel="4.19.0", arch="riscv64", mem=GIB))
    assert len(caught.value.problems) == 5


def test_a_host_policy_may_name_host_knobs(text):
    knobs = {"vm.swappiness": 10}
    host_policy = support.edited(text, scope="host", assignment=knobs, baseline=knobs)
    assert dict(run(host_policy, in_namespace=False).assignment) == knobs
