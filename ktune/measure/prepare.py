"""The child's way from fork to the command: session, cgroup, namespaces, user, rights, exec.

Standard library only. Every step has a name, so that a failure is told as "enter the scope:
No such file or directory" and not as an exit code of the command. The order matters: the cgroup
and the namespaces need the rights that the last steps give up.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from typing import NamedTuple, NoReturn

from ktune.kernel.namespaces import NamespaceRef, enter, unshare
from ktune.measure import rights
from ktune.measure.cgroup import WindowCgroup
from ktune.measure.clone import CLONE_NEWIPC, CLONE_NEWPID
from ktune.measure.job import BUNDLED_PREFIX, Job
from ktune.measure.swap.memory_group import MemoryGroup

KILLED_BY = 128
"""Exit code of a first process whose command was ended by a signal: this plus its number."""
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def preload(job: Job) -> None:
    """Import a bundled load in the spawner: a fork then starts it at once, and an unprivileged
    user needs no right to read the interpreter's or our files (a checkout below /root)."""
    if job.bundled:
        if not job.bundled.startswith(BUNDLED_PREFIX):
            raise ValueError(f"{job.bundled} is no bundled workload")
        importlib.import_module(job.bundled)


class Streams(NamedTuple):
    """The child's ends of the pipes to the spawner: output, what failed, and the word to go."""

    stdout: int
    stderr: int
    fail: int
    go: int


class Groups(NamedTuple):
    """The cgroups that the child has yet to join."""

    window: WindowCgroup | None
    memory: MemoryGroup | None


def become(job: Job, groups: Groups, streams: Streams, *, parent: int, home: str = "/") -> NoReturn:
    """Turn this fresh fork of `parent` into the command, once it is told to. Never returns.

    `home`: the folder in which the command starts.
    """
    fail = streams.fail
    step = "prepare"
    code = 127
    try:
        step = "new session"
        _fresh_process(streams)
        if groups.window is not None:
            # Without it the process tree is still found: we are its subreaper.
            with contextlib.suppress(OSError):
                groups.window.join()
        if groups.memory is not None:
            step = "join the memory cgroup"
            groups.memory.join()
        if job.cpus:
            step = f"pin to CPU {','.join(map(str, job.cpus))}"
            os.sched_setaffinity(0, job.cpus)
        step = "enter the scope"
        if job.netns:
            enter(NamespaceRef(job.netns, job.userns or None))
        parted = job.own_pids and bool(job.userns) and os.getpid() != 1 and _parted()
        if job.userns and job.own_name:
            rights.be_named_again(*job.own_name)
        step = "give up rights"
        _give_up_rights(job, parent)
        step = f"enter {home}"
        os.chdir(home)
        step = "execute"
        if not os.read(streams.go, 1):
            os._exit(code)
        os.close(streams.go)
        _with_company(streams, parted=parted)
        code = _execute(job, fail)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(fail, f"{step}\t{error.errno or 0}\t{error.strerror or error}".encode())
    except BaseException as error:  # noqa: BLE001 - a fork must never return into the spawner
        with contextlib.suppress(OSError):
            os.write(fail, f"{step}\t0\t{error!r}".encode())
    finally:
        os._exit(code)


def _give_up_rights(job: Job, parent: int) -> None:
    rights.no_core_dumps()
    if job.realtime:
        rights.keep_through_change()
    if job.uid is not None:
        rights.change_user(job.uid, job.gid or 0, list(job.groups))
    if job.realtime:
        rights.keep_realtime()
    elif job.uid or job.userns:
        rights.drop_capabilities()
    # The first process of a namespace of process ids sees no parent.
    rights.die_with_parent(0 if os.getpid() == 1 else parent)
    rights.no_new_privileges()


def _parted() -> bool:
    """Whether our next child is the first process of a namespace of its own."""
    try:
        unshare(CLONE_NEWPID | CLONE_NEWIPC)
    except OSError:
        return False
    return True


def _with_company(streams: Streams, *, parted: bool) -> None:
    """Where there is a namespace of process ids, go on behind a first process that watches over it;
    `parted`: our next child is to be that."""
    if parted:
        _stay_behind(streams)
        rights.die_with_parent(0)
    if os.getpid() == 1:
        _stay_behind(streams)


def _stay_behind(streams: Streams) -> None:
    """Returns in a child. We hand on to it the signals that end a server, and end with it.

    Who stays behind as the first process of a namespace takes everything in it along in the end.
    The server itself can't be that: a first process is spared the signals that it sends itself
    (pid_namespaces(7)), so that one that crashes might go on.
    """
    child = 0

    def hand_on(number: int, _: object) -> None:
        if child:
            os.kill(child, number)

    for number in _HANDED_ON:
        signal.signal(number, hand_on)
    child = os.fork()
    if child == 0:
        return  # executing a program takes the handlers away
    for fd in (0, 1, 2, streams.fail):
        os.close(fd)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else KILLED_BY - code)


def _fresh_process(streams: Streams) -> None:
    os.setsid()
    for number in _DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (streams.stdout, 1), (streams.stderr, 2)):
        os.dup2(source, target, inheritable=True)
    # A bundled load never execs, so nothing else would close the spawner's socket here.
    first, second = sorted((streams.fail, streams.go))
    os.closerange(3, first)
    os.closerange(first + 1, second)
    os.closerange(second + 1, 1024)


def _execute(job: Job, fail: int) -> int:
    environment = dict(job.environment)
    if not job.bundled:
        os.execvpe(job.argv[0], job.argv, environment)
    load = importlib.import_module(job.bundled)
    os.environ.clear()
    os.environ.update(environment)
    os.close(fail)
    try:
        code = int(load.main(list(job.argv)) or 0)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - told on stderr, as an interpreter would
        print(f"{job.bundled}: {error!r}", file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        # A reader that went away is the reader's matter.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code
