"""An ordinary user needs no root: scope, link, tuning inside, workload."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.measure.helpers import ROOT

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
INTERPRETERS = ("/usr/bin/python3", "/usr/local/bin/python3", "/usr/bin/python3.12")

SESSION = """
import json, os, subprocess, sys; sys.path.insert(0, sys.argv[1])
from ktune.errors import KtuneError
from ktune.measure.link.link import LongLink
from ktune.measure.runner import CommandSource
from ktune.measure.scope import EphemeralScope
from ktune.measure.specs import LinkSpec, MetricSpec, WorkloadSpec
load = WorkloadSpec(("--up", "4M", "--down", "4M"), (MetricSpec("mbit_per_s"),),
    bundled="ktune.measure.workloads.transfer", timeout_s=20)
script = "echo 5 2>/dev/null > /proc/sys/net/ipv4/tcp_fin_timeout && echo wrote=1; echo x=1"
intruder = WorkloadSpec(("sh", "-c", script), (MetricSpec("wrote"),))
try:
    with EphemeralScope() as scope, LongLink(LinkSpec(rtt_s=0.002), scope.ref) as link:
        enter = ["nsenter", "--preserve-credentials", "--user=" + scope.ref.userns,
                 "--net=" + scope.ref.netns]
        rmem = "/proc/sys/net/ipv4/tcp_rmem"
        subprocess.run([*enter, "sh", "-c", f"echo 4096 65536 7000000 > {rmem}"], check=True)
        shown = subprocess.run([*enter, "cat", rmem], check=True, capture_output=True, text=True)
        with CommandSource(load, scope=scope.ref, health=(link.health,)) as source:
            result = source.run(lambda: None)
        with CommandSource(intruder, scope=scope.ref) as source:
            intrusion = source.run(lambda: None)
    print(json.dumps({"uid": os.getuid(), "validity": result.validity, "reason": result.reason,
        "rate": result.metrics.get("mbit_per_s"), "rmem": shown.stdout.split(),
        "intruder": intrusion.reason}))
except KtuneError as error:
    print(json.dumps({"refused": str(error), "exit": int(error.exit_code)}))
"""


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """A copy of the package that every user may read, wherever the checkout is."""
    folder = Path(tempfile.mkdtemp(prefix="ktune-test-"))
    folder.chmod(0o755)
    shutil.copytree(ROOT / "ktune", folder / "ktune", ignore=shutil.ignore_patterns("__pycache__"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that nobody may run."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for path in INTERPRETERS:
        if (
            os.path.exists(path)
            and not subprocess.run([*as_nobody(), path, "-c", check]).returncode
        ):
            return path
    pytest.skip(f"no Python >= 3.11 that every user may run among {', '.join(INTERPRETERS)}")


def as_nobody() -> list[str]:
    return list(NOBODY) if os.geteuid() == 0 else []


def session(package: Path, python: str, mode: str) -> dict[str, object]:
    """Run SESSION with a TUN device of this mode, in a mount namespace of its own.

    Distributions let all users open /dev/net/tun (udev: 0666); bare images often don't.
    """
    inner = [*as_nobody(), python, "-c", SESSION, str(package)]
    if os.geteuid() == 0:
        node = (
            "mount -t tmpfs -o mode=755,dev tun /mnt && mknod /mnt/tun c 10 200 && "
            f'chmod {mode} /mnt/tun && mount --bind /mnt/tun /dev/net/tun && exec "$@"'
        )
        inner = ["unshare", "-m", "--propagation=private", "sh", "-c", node, "sh", *inner]
    done = subprocess.run(inner, capture_output=True, text=True, cwd="/", timeout=60)
    assert done.stdout, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_an_ordinary_user_tunes_and_measures_in_namespaces_of_its_own(
    package: Path, python: str, tun_node: None
) -> None:
    answer = session(package, python, "666")
    assert answer.get("validity") == "valid", answer
    assert answer["uid"] != 0
    assert answer["rmem"] == ["4096", "65536", "7000000"]
    # uid 0 of its user namespace, yet the workload may not change what is measured.
    assert answer["intruder"] == "the output has no 'wrote', which metric wrote expects"


def test_a_closed_tun_device_is_refused_with_the_remedy(
    root: None, package: Path, python: str, tun_node: None
) -> None:
    answer = session(package, python, "600")
    assert answer["exit"] == 4
    assert "/dev/net/tun" in str(answer["refused"])
    assert "sudo make tune" in str(answer["refused"])


@pytest.fixture
def tun_node() -> None:
    """The kernel has TUN, and this user may use it or make its own node."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("no /dev/net/tun (CONFIG_TUN, modprobe tun)")
    if os.geteuid() != 0 and not os.access("/dev/net/tun", os.W_OK):
        pytest.skip("this user may not open /dev/net/tun")
