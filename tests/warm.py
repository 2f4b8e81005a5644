"""Runs `ktune` commands in forks of a process that has imported it, for the quick run.

Most of a short command's time is Python importing its modules. Here one process per test process
imports them once; each command is a fork of it: a process of its own, with its own environment,
descriptors and end, running the same `main`. What a fork can't show (an import that a command
forgot, how Python itself starts) the whole run shows: `make test-full` starts every command anew,
and so do the tests that look at start-up, or that start a command in order to kill it.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO

from tests.depth import WHOLE

HOME = Path(__file__).resolve().parents[1]
COLD_VARIABLE = "KTUNE_TEST_COLD"
"""Set: every command is started anew (worth it where there are few)."""
_PYTHONS_OWN = ("PYTHON", "LC_", "LANG", "MALLOC_")
"""Variables with such names mean something only to a process that starts."""
_NOT_IMPORTED = ("ktune.__main__", "ktune.measure.workloads", "ktune.kernel.bpf.build")
_LARGEST_REQUEST = 1 << 20


def run_ktune(
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    timeout_s: float,
    cwd: Path = HOME,
    new_session: bool = False,
) -> subprocess.CompletedProcess[str]:
    """`python -m ktune WORDS` to its end, as `subprocess.run` would; raises `TimeoutExpired`."""
    argv = [sys.executable, "-m", "ktune", *words]
    if WHOLE or os.environ.get(COLD_VARIABLE) or _starts_differently(env):
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            check=False,
            start_new_session=new_session,
        )
    request = json.dumps(
        {"words": list(words), "env": dict(env), "cwd": str(cwd), "new_session": new_session}
    )
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = _server().run(request, (out, err), timeout_s)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


def _starts_differently(env: Mapping[str, str]) -> bool:
    def own(of: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in of.items() if key.startswith(_PYTHONS_OWN)}

    return own(env) != own(os.environ)


class _Server:
    """The client's side of the process that has imported everything."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=HOME,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        atexit.register(self.close)

    def close(self) -> None:
        """It ends when nobody holds the other end."""
        self._socket.close()
        self._process.wait()

    def run(self, request: str, outputs: tuple[IO[str], IO[str]], timeout_s: float) -> int:
        """The exit code; negative: the signal that ended it."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine:
            with theirs:
                fds = [theirs.fileno(), *(stream.fileno() for stream in outputs)]
                socket.send_fds(self._socket, [request.encode()], fds)
            mine.settimeout(30)
            pid = int(mine.recv(64))
            mine.settimeout(timeout_s)
            try:
                return int(mine.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(request, timeout_s) from None


_started: dict[int, _Server] = {}


def _server() -> _Server:
    """This process' own (pytest may fork)."""
    if os.getpid() not in _started:
        _started[os.getpid()] = _Server()
    return _started[os.getpid()]


def main(argv: Sequence[str]) -> int:
    """Import everything; then a fork for each request, until the other end is closed."""
    _import_all()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(argv[0])) as requests:
        while True:
            text, fds, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 3)
            if not text:
                return 0
            if os.fork() == 0:
                requests.close()
                _attend(json.loads(text), fds)
            for fd in fds:
                os.close(fd)
            _reap()


def _import_all() -> None:
    import ktune

    for module in pkgutil.walk_packages(ktune.__path__, "ktune."):
        if not module.name.startswith(_NOT_IMPORTED):
            import_module(module.name)
    for name in ("optuna", "optuna.samplers", "optuna.storages.journal", "optuna.importance"):
        import_module(name)


def _attend(request: dict[str, object], fds: list[int]) -> None:
    """In a process of its own: run the command in a child, tell how it ended."""
    reply, out, err = fds
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        atexit._clear()
        _become(request, out, err)
    with socket.socket(fileno=reply) as answers:
        os.close(out)
        os.close(err)
        answers.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        answers.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(request: dict[str, object], out: int, err: int) -> None:
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        words, env, cwd = request["words"], request["env"], request["cwd"]
        assert isinstance(words, list) and isinstance(env, dict) and isinstance(cwd, str)
        os.environ.clear()
        os.environ.update(env)
        os.chdir(cwd)
        if request["new_session"]:
            os.setsid()
        from ktune.cli.main import main as ktune

        sys.argv[:] = ["ktune", *words]
        code = ktune()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - as Python does at the end of a process
        traceback.print_exc()
    finally:
        _finish()
        os._exit(code)


def _finish() -> None:
    """What Python does at the end, without taking the interpreter down piece by piece."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def _reap() -> None:
    """Attendants that are done."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
