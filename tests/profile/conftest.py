"""Host facts that the tests of profiles share."""

from __future__ import annotations

import pytest

from ktune.profile.host import HostFacts, host_facts


@pytest.fixture(scope="session")
def facts() -> HostFacts:
    """The facts of the machine that runs the tests."""
    return host_facts()


@pytest.fixture(scope="session")
def small_host() -> HostFacts:
    """A machine of the tests' own: 8 GiB, 4 CPUs, bare metal."""
    kib = 8 * 1024 * 1024
    return HostFacts(
        kernel="6.1.0-28-amd64",
        arch="x86_64",
        virt="none",
        numbers={
            "mem.total_bytes": kib * 1024,
            "mem.total_kib": kib,
            "mem.total_pages": kib // 4,
            "cpu.count": 4,
            "page.bytes": 4096,
        },
    )
