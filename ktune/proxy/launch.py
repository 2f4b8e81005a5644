"""Starts the guardian program: a bare interpreter, no site packages, our own folder only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from ktune.kernel.namespaces import NamespaceRef
from ktune.proxy.backends import ProxyChoice

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from ktune.proxy.guardian.main import main; sys.exit(main(sys.argv[1:]))"
)


def guardian_command(arguments: Sequence[str], namespace: NamespaceRef | None) -> list[str]:
    """argv of the guardian. `-I -S`: environment, user and site packages can't change it."""
    where = namespace.argv() if namespace else []
    return [sys.executable, "-I", "-S", "-c", _BOOT, _ROOT, *where, *arguments]


def start_guardian(
    fd: int,
    namespace: NamespaceRef | None,
    *,
    lock_memory: bool,
    stderr: int,
    proxy: ProxyChoice = ProxyChoice.AUTO,
) -> subprocess.Popen[bytes]:
    """Start the per-run guardian on an inherited socket. Raises OSError (no free pids...)."""
    memory = ["--lock-memory"] if lock_memory else []
    arguments = ["run", f"--fd={fd}", f"--proxy={proxy.value}", *memory]
    return subprocess.Popen(
        guardian_command(arguments, namespace),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=(fd,),
        cwd="/",
        env={},
    )


def run_recovery(
    journal: str, namespace: NamespaceRef | None, *, committed: bool
) -> subprocess.CompletedProcess[bytes]:
    """Run the guardian once to restore from one journal. Raises OSError, TimeoutExpired."""
    arguments = ["recover", journal, *(["--committed"] if committed else [])]
    return subprocess.run(
        guardian_command(arguments, namespace),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        cwd="/",
        env={},
        check=False,
    )
