"""Runs a function in a forked child and brings its JSON result back.

Only for short reads from a single-threaded command: no lock of another thread can be lost in
the fork. The child leaves through `os._exit`, so nothing of the parent's is cleaned up twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, NoReturn

from ktune.errors import KtuneError


class NoProcess(KtuneError):
    """The machine is short of processes, files or memory: nothing is known of the scope."""


def in_child(call: Callable[[], Any]) -> Any:
    """The result of `call()` run in a child (lists stay lists).

    Raises:
        OSError: `call` raised one (its errno).
        NoProcess: no process could be made.
        KtuneError: the child died.
    """
    read_end, write_end = _pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        raise NoProcess(f"no process can be started: {error.strerror}") from error
    if pid == 0:
        _child(call, write_end)
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as pipe:
            data = pipe.read()
    finally:
        os.waitpid(pid, 0)
    if not data:
        raise KtuneError("a helper process died before it could answer")
    answer = json.loads(data)
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    return answer["result"]


def _pipe() -> tuple[int, int]:
    try:
        return os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise NoProcess(f"no process can be started: {error.strerror}") from error


def _child(call: Callable[[], Any], write_end: int) -> NoReturn:
    try:
        try:
            answer: dict[str, Any] = {"result": call()}
        except OSError as error:
            answer = {"errno": error.errno or 5}
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    finally:
        os._exit(0)
