"""Fixtures that every test may use, and what keeps a test run off the host's own ktune.

Tests that write host knobs take `host_knobs`: one test process at a time, and every knob that a
test may touch is put back afterwards without ktune's help.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ktune.kernel.namespaces import unshare
from tests.knobs import read_knob, write_knob

CLONE_NEWNS = 0x00020000
HOST_LOCK = Path("/run/lock/ktune-tests.lock")
RUNTIME = Path("/run/ktune")
BPFFS = Path("/sys/fs/bpf")
CONFIGURATION = Path("/etc/ktune")
BESIDE_OTHERS = "fairness: {others: off, memory: off}\n"
"""Tests run beside each other: for most of them a busy machine is no reason to void a window."""

# A runner in the background ignores these, its children would inherit that, and ktune honours it
# (nohup): no test of signals could pass.
for _signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """As root many tests run programs as nobody, from this checkout: said once, not by each."""
    checkout = Path(__file__).resolve().parents[1]
    if os.geteuid() != 0 or not (checkout / ".git").exists():  # a copy with a planted bug has none
        return
    for folder in Path(__file__).resolve().parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise pytest.UsageError(
                f"tests run programs as nobody, who can't get past {folder} "
                f"(mode {stat.S_IMODE(folder.stat().st_mode):04o}): clone to where everybody may go"
            )


settings.register_profile(
    "ktune",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)
settings.load_profile("ktune")

HOST_KNOBS = (
    *(
        f"/proc/sys/vm/{name}"
        for name in (
            "swappiness",
            "vfs_cache_pressure",
            "page-cluster",
            "dirty_ratio",
            "dirty_background_ratio",
            "dirty_expire_centisecs",
            "dirty_writeback_centisecs",
            "watermark_scale_factor",
            "watermark_boost_factor",
            "compaction_proactiveness",
            "stat_interval",
        )
    ),
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/transparent_hugepage/defrag",
    "/proc/sys/vm/min_free_kbytes",
)
"""Knobs of the whole host that tests may write, in the order in which they are put back."""


@pytest.fixture(scope="session", autouse=True)
def private_runtime() -> Iterator[None]:
    """The run's own /run/ktune and bpffs: tests neither see nor touch the leases, locks and pinned
    guards of this host."""
    if os.geteuid() != 0:
        yield
        return
    RUNTIME.mkdir(mode=0o700, exist_ok=True)
    try:
        unshare(CLONE_NEWNS)
    except OSError:  # a container without the right to mount: nothing of ktune runs there either
        yield
        return
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "mode=700,size=16m", "ktune-tests", str(RUNTIME)], check=True
    )
    own = [RUNTIME, *_private_configuration()]
    if BPFFS.is_dir():  # what tests pin goes with the run
        done = subprocess.run(["mount", "-t", "bpf", "ktune-tests", str(BPFFS)], check=False)
        own += [BPFFS] if done.returncode == 0 else []
    yield
    for folder in own:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _private_configuration() -> list[Path]:
    """The run's own /etc/ktune; none where / is read-only."""
    try:
        CONFIGURATION.mkdir(mode=0o755, exist_ok=True)
    except OSError:
        return []
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "ktune-tests", str(CONFIGURATION)],
        check=True,
    )
    (CONFIGURATION / "config.yaml").write_text(BESIDE_OTHERS)
    return [CONFIGURATION]


@pytest.fixture(scope="session", autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same for an ordinary user."""
    if os.geteuid() != 0:
        home = tmp_path_factory.mktemp("configuration")
        (home / "ktune").mkdir()
        (home / "ktune" / "config.yaml").write_text(BESIDE_OTHERS)
        os.environ["XDG_CONFIG_HOME"] = str(home)


@pytest.fixture
def root() -> None:
    """The test needs real root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


class HostKnobs:
    """The host's knobs as the test found them."""

    def __init__(self) -> None:
        self.before = {path: read_knob(path) for path in HOST_KNOBS if os.path.exists(path)}

    def read(self, path: str) -> str:
        """The value in force; a choice file gives the chosen word."""
        return read_knob(path)

    def write(self, path: str, text: str) -> None:
        """Write as an administrator would: not through ktune."""
        write_knob(path, text)

    @property
    def changed(self) -> dict[str, tuple[str, str]]:
        """path -> (before, now) of everything that is not as it was."""
        now = {path: read_knob(path) for path in self.before}
        return {path: (was, now[path]) for path, was in self.before.items() if now[path] != was}

    def put_back(self) -> None:
        """Twice: a later write may move an earlier one."""
        for _ in range(2):
            for path, text in self.before.items():
                if read_knob(path) != text:
                    with suppress(OSError):
                        write_knob(path, text)


@pytest.fixture
def host_knobs(root: None) -> Iterator[HostKnobs]:
    """Exclusive use of the host's knobs for one test; all are put back afterwards."""
    HOST_LOCK.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(HOST_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        knobs = HostKnobs()
        yield knobs
        knobs.put_back()
    finally:
        os.close(fd)
