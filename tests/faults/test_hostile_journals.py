"""A journal is hostile input: whatever it says, only originals of tunable knobs are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ktune.proxy import recover as recovering
from ktune.proxy.guardian.recovery import RecoveryOutcome, recover_journal
from ktune.proxy.journal import decode, encode
from ktune.proxy.recover import JournalCondition, Recovery, archive, pending, recover
from ktune.proxy.storage import prepare
from tests.conftest import HostKnobs
from tests.depth import WHOLE
from tests.faults.tracer import opened_files
from tests.proxy.rig import Net, Paths, RemoteClient, kill_both

FIN = "net.ipv4.tcp_fin_timeout"
RMEM = "net.ipv4.tcp_rmem"
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
Remote = Callable[..., RemoteClient]


@pytest.fixture
def left(net: Net, paths: Paths, remote: Remote) -> Path:
    """A real journal whose client and guardian were killed; FIN is 17 and RMEM changed."""
    client = remote()
    opened = client.open(paths, FIN, RMEM, namespace=net.ref)
    client.apply({FIN: 17, RMEM: [4096, 65536, 999_424]})
    kill_both(client, opened)
    return Path(opened["journal"])


@pytest.fixture
def host_left(host_knobs: HostKnobs, paths: Paths, remote: Remote) -> Path:
    """The same for a knob of the host: swappiness is 17."""
    client = remote()
    opened = client.open(paths, "vm.swappiness")
    client.apply({"vm.swappiness": 17})
    kill_both(client, opened)
    return Path(opened["journal"])


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every record, with good checksums."""
    lines = []
    for line in path.read_bytes().splitlines():
        record = decode(line)
        assert record is not None
        change(record)
        lines.append(encode(record))
    path.write_bytes(b"".join(lines))


def outcomes(paths: Paths) -> list[RecoveryOutcome]:
    return [item.outcome for item in recover(paths)]


def test_a_journal_of_another_boot_writes_nothing_and_is_archived(
    host_left: Path, host_knobs: HostKnobs, paths: Paths
) -> None:
    rewrite(host_left, lambda record: "boot_id" in record and record.update(boot_id="another"))
    assert [item.condition for item in pending(paths)] == [JournalCondition.OTHER_BOOT]
    assert outcomes(paths) == [RecoveryOutcome.OTHER_BOOT]
    assert host_knobs.read("/proc/sys/vm/swappiness") == "17"
    assert not pending(paths)
    assert (host_left.parent / "archive" / host_left.name).exists()


def test_a_journal_that_its_owner_archives_meanwhile_is_nobodys_refusal(
    left: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = recovering.recover_one

    def owner_first(journal: str) -> Recovery:
        archive(left, paths)
        return restore(journal)

    monkeypatch.setattr(recovering, "recover_one", owner_first)
    assert outcomes(paths) == []
    assert not pending(paths)


def test_a_journal_cut_off_at_any_byte_never_crashes_and_never_writes_wrongly(
    left: Path, net: Net
) -> None:
    originals = originals_of(left)
    applied = {FIN: 17, RMEM: (4096, 65536, 999_424)}
    whole = left.read_bytes()
    in_the_intent = whole.index(b'"type":"intent"')
    for size in range(0, len(whole), 1 if WHOLE else 4):
        write_as_applied(net, applied)
        left.write_bytes(whole[:size])
        recovery = recover_here(left, net)
        now = {key: net.read(key) for key in applied}
        assert now in (applied, originals)
        if size > in_the_intent:
            assert recovery.outcome is RecoveryOutcome.RESTORED
            assert now == originals


def test_a_journal_with_one_flipped_byte_never_crashes_and_never_writes_wrongly(
    left: Path, net: Net
) -> None:
    originals = originals_of(left)
    applied = {FIN: 17, RMEM: (4096, 65536, 999_424)}
    whole = left.read_bytes()
    for at in range(3, len(whole), 61):
        write_as_applied(net, applied)
        left.write_bytes(whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :])
        recover_here(left, net)
        for key in (FIN, RMEM):
            assert net.read(key) in (applied[key], originals[key])


def test_a_journal_that_names_core_pattern_is_refused_and_nothing_is_opened_for_writing(
    host_left: Path, host_knobs: HostKnobs, paths: Paths
) -> None:
    def name_core_pattern(record: dict[str, Any]) -> None:
        if record["type"] == "originals":
            record["knobs"].append(
                {
                    "key": "kernel.core_pattern",
                    "kind": "string",
                    "original": CORE_PATTERN.read_text().strip(),
                    "leased": True,
                }
            )

    rewrite(host_left, name_core_pattern)
    before = CORE_PATTERN.read_text()
    opened = opened_files(sys.executable, "-c", RECOVER, str(paths.journal), str(paths.runtime))
    assert any(item.path == str(host_left) for item in opened), "it did not even look"
    into_kernel = [
        item.path
        for item in opened
        if item.for_writing and item.path.startswith(("/proc", "/sys", "sys", "kernel"))
    ]
    assert into_kernel == []
    assert not any("core_pattern" in item.path for item in opened)
    assert CORE_PATTERN.read_text() == before
    assert host_knobs.read("/proc/sys/vm/swappiness") == "17"  # the whole journal is refused
    (refused,) = pending(paths)
    assert refused.condition is JournalCondition.REFUSED
    assert "kernel.core_pattern" in refused.reason


@pytest.mark.parametrize(
    "key",
    [
        "/proc/sys/kernel/core_pattern",
        "vm.../kernel/core_pattern",
        "/sys/block/../../proc/sys/kernel/core_pattern",
        "vm.overcommit_memory",
        "/etc/shadow",
        "",
        "vm.swappiness\n",
    ],
)
def test_a_journal_that_names_anything_but_a_tunable_knob_is_refused(
    left: Path, net: Net, paths: Paths, key: str
) -> None:
    def rename(record: dict[str, Any]) -> None:
        if record["type"] == "originals":
            record["knobs"][0]["key"] = key

    rewrite(left, rename)
    assert outcomes(paths) == [RecoveryOutcome.REFUSED]
    assert net.read(FIN) == 17


def test_a_host_knob_in_a_namespaces_journal_is_refused(
    left: Path, host_knobs: HostKnobs, paths: Paths
) -> None:
    def smuggle(record: dict[str, Any]) -> None:
        if record["type"] == "originals":
            record["knobs"][0] |= {"key": "vm.swappiness", "kind": "int", "original": 99}

    rewrite(left, smuggle)
    assert outcomes(paths) == [RecoveryOutcome.REFUSED]
    assert not host_knobs.changed


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"boot_id": None},
        {"netns_cookie": "x"},
        {"netns_cookie": 1},
        {"netns": "/no/such/namespace"},
        {"netns": "/etc/passwd"},
        {"netns": None},
        {"scope": "host"},
        {"type": "close"},
    ],
)
def test_a_journal_with_a_forged_head_writes_nothing(
    left: Path, net: Net, paths: Paths, change: dict[str, Any]
) -> None:
    rewrite(left, lambda record: "boot_id" in record and record.update(change))
    recover(paths)
    assert net.read(FIN) == 17


def test_a_journal_that_names_a_pipe_as_its_namespace_does_not_hang(
    left: Path, tmp_path: Path, paths: Paths
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    rewrite(left, lambda record: "boot_id" in record and record.update(netns=str(pipe)))
    assert outcomes(paths) == [RecoveryOutcome.SCOPE_GONE]


@pytest.mark.parametrize(
    "value", [None, "17", 1.5, [1], {"a": 1}, True, 10**40], ids=lambda value: type(value).__name__
)
def test_a_journal_whose_original_is_of_another_type_writes_nothing_of_it(
    left: Path, net: Net, paths: Paths, value: object
) -> None:
    def retype(record: dict[str, Any]) -> None:
        if record["type"] == "originals":
            for knob in record["knobs"]:
                if knob["key"] == FIN:
                    knob["original"] = value

    rewrite(left, retype)
    recover(paths)
    assert net.read(FIN) == 17


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_journal_open_to_others_is_refused(left: Path, net: Net, paths: Paths, mode: int) -> None:
    left.chmod(mode)
    assert outcomes(paths) == [RecoveryOutcome.REFUSED]
    assert net.read(FIN) == 17
    left.chmod(0o600)
    assert outcomes(paths) == [RecoveryOutcome.RESTORED]


def test_a_journal_of_another_user_is_refused(left: Path, net: Net, paths: Paths) -> None:
    os.chown(left, 65534, 65534)
    assert outcomes(paths) == [RecoveryOutcome.REFUSED]
    assert net.read(FIN) == 17


def test_a_link_in_the_place_of_a_journal_is_not_followed(left: Path, net: Net) -> None:
    link = left.with_name("link.journal")
    link.symlink_to(left)
    assert recover_here(link, net).outcome is RecoveryOutcome.REFUSED
    assert net.read(FIN) == 17


@pytest.mark.parametrize("kind", ["pipe", "folder", "empty", "binary", "huge"])
def test_what_is_no_journal_is_refused_without_a_crash(paths: Paths, kind: str, root: None) -> None:
    prepare(paths)
    path = paths.journal / "x.journal"
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir(0o700)
    else:
        path.touch(0o600)
        path.write_bytes(os.urandom(5000) if kind == "binary" else b"")
        if kind == "huge":
            os.truncate(path, 20 << 20)
    assert outcomes(paths) == [RecoveryOutcome.REFUSED]
    assert [item.condition for item in pending(paths)] == [JournalCondition.REFUSED]


RECOVER = """
import sys
from pathlib import Path
from ktune.proxy.recover import recover
from tests.proxy.rig import Paths
recover(Paths(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def originals_of(journal: Path) -> dict[str, Any]:
    records = map(decode, journal.read_bytes().splitlines())
    record = next(item for item in records if item is not None and "knobs" in item)
    values = {item["key"]: item["original"] for item in record["knobs"]}
    return {FIN: values[FIN], RMEM: tuple(values[RMEM])}


def write_as_applied(net: Net, values: dict[str, Any]) -> None:
    for key, value in values.items():
        net.write(key, " ".join(map(str, value)) if isinstance(value, tuple) else str(value))


def recover_here(journal: Path, net: Net) -> Any:
    """The guardian's own code in this process: starting one for each byte would take minutes."""
    return net.inside(lambda: recover_journal(str(journal), None, committed=False))
