"""The runner's own logic, without a guest: which kernel, what it boots from, what a failure is."""

from __future__ import annotations

import io
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest import needs
from tests.guest.archive import Archive
from tests.guest.disk import Disk
from tests.guest.kernels import cache_folder, newest_release
from tests.guest.machine import watched
from tests.guest.modules import loaded_in_order
from tests.guest.newer import adapt
from tests.guest.verdict import judge

MARKER = "KTUNE-GUEST-0123"
DONE = f"1 passed\n{MARKER} exit=0 up=3.1\n"


def test_the_newest_kernel_is_the_highest_number_not_the_last_word() -> None:
    offered = [
        "linux-image-6.1.0-9-amd64",
        "linux-image-6.1.0-56-amd64",
        "linux-image-6.1.0-57-cloud-amd64",
        "linux-image-6.1.0-57-rt-amd64",
        "linux-image-6.1.0-57-amd64-unsigned",
        "linux-image-6.1.0-57-amd64-dbg",
        "linux-image-6.12.117+deb12-amd64",
        "linux-image-6.12.99+deb12-amd64",
        "linux-image-6.12-amd64",
    ]
    assert newest_release("6.1", offered) == "6.1.0-56-amd64"
    assert newest_release("6.12", offered) == "6.12.117+deb12-amd64"
    assert newest_release("6.13", offered) is None
    assert newest_release("6", offered) == "6.12.117+deb12-amd64"


def test_of_a_newer_kernel_only_the_one_with_its_whole_number_counts() -> None:
    offered = ["linux-image-7.3-amd64", "linux-image-7.2.9+deb13-amd64", "linux-image-7-amd64"]
    assert newest_release("7", offered) == "7.2.9+deb13-amd64"
    assert newest_release("7", ["linux-image-7.3-amd64"]) is None


def test_a_program_of_a_newer_debian_starts_with_its_own_libraries(tmp_path: Path) -> None:
    root, place = tmp_path / "made", tmp_path / "there"
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    tools = root / "usr" / "lib" / "linux-kbuild-9" / "scripts" / "mod"
    headers = root / "usr" / "src" / "linux-headers-9.9.9-amd64"
    for folder in (libraries, tools, headers):
        folder.mkdir(parents=True)
    # a "loader" that says how it was called
    loader = libraries / "ld-linux-x86-64.so.2"
    loader.write_text("#!/bin/sh\nshift 4\nprintf '%s ' \"$@\"\n")
    loader.chmod(0o755)
    for name, content, mode in (
        ("modpost", b"\x7fELF", 0o755),
        ("script.sh", b"#!/bin/sh\n", 0o755),
        ("data.o", b"\x7fELF", 0o644),
    ):
        (tools / name).write_bytes(content)
        (tools / name).chmod(mode)
    (headers / "vmlinux").write_bytes(b"BTF")
    (headers / ".kernelvariables").write_text("CC = gcc\n")
    adapt(root, "9.9.9-amd64", place)
    root.rename(place)
    tools = place / tools.relative_to(root)
    assert sorted(path.name for path in tools.iterdir()) == [
        "data.o",
        "modpost",
        "modpost.elf",
        "script.sh",
    ]
    said = subprocess.run([tools / "modpost", "-a", "b c"], capture_output=True, text=True)
    assert said.stdout == f"{tools}/modpost.elf -a b c "
    assert not (place / headers.relative_to(root) / "vmlinux").exists()


def test_the_cache_folder_is_the_variables_then_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("KTUNE_GUEST_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "ktune" / "kernels"
    monkeypatch.setenv("KTUNE_GUEST_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_good_run_is_good() -> None:
    verdict = judge("[ 1.0] Run /init\n", DONE, marker=MARKER, ended=True, limit_s=60)
    assert verdict.good


def test_a_command_that_fails_fails_the_run() -> None:
    output = DONE.replace("exit=0", "exit=3")
    verdict = judge("", output, marker=MARKER, ended=True, limit_s=60)
    assert (verdict.code, verdict.good) == (3, False)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 0 PID: 7 at kernel/fork.c:9 f+0x1/0x2 [ktune]",
        "BUG: unable to handle page fault for address: ffff",
        "BUG kmalloc-64 (Tainted: G OE): Right Redzone overwritten",
        "Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "BUG: KASAN: slab-use-after-free in f",
        "WARNING: possible circular locking dependency detected",
        "INFO: task python:12 blocked for more than 120 seconds.",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "Kernel panic - not syncing: Fatal exception",
        "refcount_t: underflow; use-after-free.",
        "python[77]: segfault at 0 ip 0 sp 0 error 4",
    ],
)
def test_what_the_kernel_complains_of_fails_a_run_that_ended_well(line: str) -> None:
    verdict = judge(f"[    1.5] {line}\n", DONE, marker=MARKER, ended=True, limit_s=60)
    assert not verdict.good
    assert line in verdict.problems[0]


def test_words_of_a_test_are_no_complaint_of_the_kernel() -> None:
    output = f"WARNING: BUG: a message of the program under test\n{DONE}"
    assert judge("", output, marker=MARKER, ended=True, limit_s=60).good


def test_a_guest_that_hangs_fails_with_the_tail_of_its_logs() -> None:
    log = "".join(f"[{second}.0] line {second}\n" for second in range(100))
    verdict = judge(log, "test_it ", marker=MARKER, ended=False, limit_s=60)
    assert verdict.code is None
    assert "no end within 60 s" in verdict.problems[0]
    assert "line 99" in verdict.problems[0] and "test_it" in verdict.problems[0]
    assert "line 5\n" not in verdict.problems[0]


def test_a_guest_that_just_ends_fails() -> None:
    verdict = judge("[1.0] reboot\n", "1 passed\n", marker=MARKER, ended=True, limit_s=60)
    assert not verdict.good
    assert "without an exit code" in verdict.problems[0]


@pytest.mark.parametrize("cut", [False, True])
def test_the_power_is_cut_when_the_command_has_ended(cut: bool) -> None:
    """The line after the marker is a shutdown's, which a cut does not wait for."""
    shown = io.StringIO()
    later = "sleep 600" if cut else "echo stopping"
    script = f"echo works; echo {MARKER} exit=0 up=1; {later}"
    output, ended = watched(["sh", "-c", script], 60, shown, marker=MARKER, cut=cut)
    assert ended and f"{MARKER} exit=0" in output
    assert shown.getvalue() == ("works\n" if cut else "works\nstopping\n")


def test_a_copied_disk_has_a_life_of_its_own(tmp_path: Path) -> None:
    try:
        disk = Disk.make(tmp_path / "one", size_mib=8)
    except needs.GuestError as error:
        pytest.skip(str(error))
    other = disk.copied(tmp_path / "two")
    assert other.image.read_bytes() == disk.image.read_bytes()
    assert disk.image.read_bytes()[1080:1082] == b"\x53\xef"  # EXT4_SUPER_MAGIC
    other.image.write_bytes(b"")
    assert disk.image.stat().st_size == 8 << 20
    with pytest.raises(FileExistsError):
        Disk.make(disk.image)


def test_an_archive_is_what_cpio_unpacks(tmp_path: Path) -> None:
    archive = Archive()
    archive.file("deep/er/file", b"12345", 0o755)
    archive.file("deep/er/other", b"")
    try:
        unpack = [needs.program("busybox"), "cpio", "-i"]
    except needs.GuestError as error:
        pytest.skip(str(error))
    archive.link("deep/link", "er/file")
    subprocess.run(unpack, input=archive.written(), cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "deep/link").read_bytes() == b"12345"
    assert (tmp_path / "deep/er/file").read_bytes() == b"12345"
    assert (tmp_path / "deep/er/file").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "deep/er/other").read_bytes() == b""


def test_modules_load_after_what_they_need_each_once(tmp_path: Path) -> None:
    def write(name: str, depends: str) -> None:
        content = b"\x7fELF\0depends=" + depends.encode() + b"\0name=x\0"
        path = tmp_path / name
        path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)

    write("a-top.ko", "mid,base")
    write("mid.ko.xz", "base")
    write("base.ko", "")
    write("unasked.ko", "")
    order = loaded_in_order(tmp_path, ["a-top", "mid", "built_in"])
    assert [module.name for module in order] == ["base", "mid", "a_top"]
    assert order[1].content.startswith(b"\x7fELF")


def test_what_is_missing_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(needs, "_find", lambda name: None)
    with pytest.raises(
        needs.GuestError, match=r"apt-get install .* busybox-static qemu-system-x86"
    ):
        needs.check(["qemu-system-x86_64", "busybox"])


def test_a_busybox_with_shared_libraries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "_find", lambda name: sys.executable)
    with pytest.raises(needs.GuestError, match="busybox-static"):
        needs.static_busybox()
