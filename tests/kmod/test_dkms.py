"""DKMS itself adds, builds, signs and installs the module; a guest loads what it made.

As an administrator would do it, in a mount namespace: /usr/lib, /usr/src and /var/lib/dkms there
take writes that this machine never sees.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guest.kernels import Kernel, cache_folder, newest
from tests.guest.machine import Guest
from tests.guest.needs import GuestError
from tests.kmod.core import KMOD

CONF = (KMOD / "dkms.conf").read_text()
NAME = "ktune/1.0.0"
NEEDED = ("dkms", "make", "gcc", "unshare", "mount", "modinfo", "openssl")
PREPARE = """
set -e
layer() {
    mkdir "$work/$1" "$work/$1-work"
    mount -t overlay -o "lowerdir=$2,upperdir=$work/$1,workdir=$work/$1-work" layer "$3"
}
mount -t tmpfs memory "$work"
layer lib /usr/lib /usr/lib
mkdir -p "/lib/modules/$release" /usr/src /var/lib/dkms
mount -t tmpfs src /usr/src
mount -t tmpfs dkms /var/lib/dkms
if [ -d "$modules" ]; then
    layer modules "$modules" "/lib/modules/$release"
    ln -sfn "$headers" "/lib/modules/$release/build"
fi
"""

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Place:
    """A folder that a guest sees (not in /tmp), with the source in `kmod` and room in `out`."""

    root: Path

    def run(self, script: str, release: str, kernel: Kernel | None = None) -> str:
        """Run a script as root beside installed headers; its output, or the test fails."""
        settings = {
            "work": self.root / "work",
            "out": self.root / "out",
            "kmod": self.root / "kmod",
            "release": release,
            "modules": kernel.modules if kernel else "/nonexistent",
            "headers": kernel.headers if kernel else "/nonexistent",
        }
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE + script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **{key: str(value) for key, value in settings.items()}},
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def place() -> Iterator[Place]:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (apt-get install --no-install-recommends dkms)")
    if os.geteuid() != 0:
        pytest.skip("needs root: dkms install asks for it")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".dkms-") as made:
        here = Place(Path(made))
        for name in ("work", "out"):
            (here.root / name).mkdir()
        ignored = shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*")
        shutil.copytree(KMOD, here.root / "kmod", ignore=ignored)
        yield here


@pytest.mark.parametrize("series", ["6.1", "6.12", "7"])
def test_what_dkms_installed_loads(place: Place, series: str) -> None:
    try:
        kernel = newest(series)
    except GuestError as error:
        pytest.skip(str(error))
    said = place.run(
        f"""
        dkms add "$kmod"
        dkms install {NAME} -k "$release" || {{ cat /var/lib/dkms/{NAME}/build/make.log; exit 1; }}
        dkms status
        echo "depmod knows $(modinfo -k "$release" -n ktune)"
        echo "signed by $(modinfo -k "$release" -F signer ktune)."
        cp "$(modinfo -k "$release" -n ktune)" "$out"
        dkms remove {NAME} --all
        find "/lib/modules/$release/" -name 'ktune.ko*'
        """,
        kernel.release,
        kernel,
    )
    assert f"{NAME}, {kernel.release}, x86_64: installed" in said
    assert f"depmod knows /lib/modules/{kernel.release}/updates/dkms/ktune.ko" in said
    assert "signed by DKMS module signing key." in said
    assert not said.splitlines()[-1].startswith("/lib/modules"), "remove left the module there"

    (module,) = (place.root / "out").iterdir()
    output = io.StringIO()
    script = (
        f"insmod {module} && test -c /dev/ktune && cat /sys/module/ktune/version && rmmod ktune"
    )
    verdict = Guest(kernel, limit_s=600).run(script, output)
    assert verdict.good, (verdict, output.getvalue())
    assert NAME.partition("/")[2] in output.getvalue().splitlines()


def test_an_older_kernel_is_passed_over(place: Place) -> None:
    """Code 77 is what DKMS goes on after, when a kernel is installed."""
    said = place.run(
        f"""
        dkms add "$kmod"
        mkdir "$work/headers"; touch "$work/headers/.config"
        code=0
        dkms build {NAME} -k "$release" --kernelsourcedir "$work/headers" || code=$?
        echo "code $code"
        """,
        "6.0.0-6-amd64",
    )
    assert "BUILD_EXCLUSIVE" in said
    assert "code 77" in said
