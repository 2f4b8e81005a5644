"""Waiting for the end of a child process without asking again and again. Standard library only."""

from __future__ import annotations

import os
import select
import subprocess
from typing import Any


def close_and_wait(process: subprocess.Popen[Any], patience_s: float) -> None:
    """Close its pipes, which tells it to end, and wait; killed when it takes too long."""
    close_pipes(process)
    try:
        wait_for(process, patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def close_pipes(process: subprocess.Popen[Any]) -> None:
    """Close its standard input and output."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def wait_for(process: subprocess.Popen[Any], timeout_s: float) -> int:
    """Its exit status, as soon as it has ended (pidfd_open(2)).

    `Popen.wait` with a timeout asks, sleeps up to 50 ms and asks again.

    Raises:
        subprocess.TimeoutExpired: it still runs.
    """
    if process.poll() is None:
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError:  # no descriptor left
            return process.wait(timeout_s)
        try:
            select.select([pidfd], [], [], timeout_s)
        finally:
            os.close(pidfd)
        if process.poll() is None:
            raise subprocess.TimeoutExpired(process.args, timeout_s)
    assert process.returncode is not None
    return process.returncode
