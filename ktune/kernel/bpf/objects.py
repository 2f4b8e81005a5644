"""Open, load and attach compiled BPF objects; maps, links, pins, ring buffers.

    with open_object("guard") as guard:
        guard.load()
        guard.attach_cgroup("sysctl_guard", "/sys/fs/cgroup/...")
        guard.map("rules").update(key, value)

A link lives as long as the object (or the process, whatever kills it), unless it is pinned in
bpffs: then until the pin is unlinked (Documentation/bpf/libbpf; tried on 6.18). Standard library
only; everything raises BpfError.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from ktune.kernel.bpf.library import SAMPLE, BpfError, library
from ktune.kernel.bpf.time_limit import load_limit

PROGRAMS = Path(__file__).resolve().parent / "programs"
LOAD_LIMIT_S = 5.0
"""For loading one object. A lease waits for it; the guard takes 6.18 some 10 ms."""
_PER_CPU_TYPES = frozenset({5, 6, 10})
"""BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH (linux/bpf.h)."""


class Map:
    """A map by its descriptor. Keys and values are bytes of the map's own sizes.

    `per_cpu`: a lookup gives one value for each possible CPU.
    """

    def __init__(self, fd: int, key_bytes: int, value_bytes: int, *, per_cpu: bool = False) -> None:
        self.fd = fd
        self.key_bytes = key_bytes
        self.value_bytes = value_bytes
        self.per_cpu = per_cpu

    def update(self, key: bytes, value: bytes) -> None:
        """Set one entry of a map that is not per CPU."""
        if len(key) != self.key_bytes or len(value) != self.value_bytes or self.per_cpu:
            raise BpfError(errno.EINVAL, f"map entry of {len(key)} and {len(value)} bytes")
        library().number("map update", "bpf_map_update_elem", self.fd, key, value, 0)

    def lookup(self, key: bytes) -> bytes | None:
        """The value of one entry, None when there is none."""
        buffer = ctypes.create_string_buffer(self.value_bytes)
        return self._look(key, buffer)

    def lookup_each_cpu(self, key: bytes) -> list[bytes]:
        """The values of one entry of a per-CPU map, one for each possible CPU; empty: none."""
        cpus = library().number("number of CPUs", "libbpf_num_possible_cpus")
        step = (self.value_bytes + 7) // 8 * 8  # the kernel rounds each value up (kernel/bpf)
        found = self._look(key, ctypes.create_string_buffer(step * cpus))
        if found is None:
            return []
        return [found[at : at + self.value_bytes] for at in range(0, len(found), step)]

    def delete(self, key: bytes) -> None:
        """Remove one entry; one that is not there is removed already."""
        try:
            library().number("map delete", "bpf_map_delete_elem", self.fd, key)
        except BpfError as error:
            if error.errno != errno.ENOENT:
                raise

    def keys(self) -> Iterator[bytes]:
        """Every key; entries that come and go meanwhile may be missed."""
        key: ctypes.Array[ctypes.c_char] | None = None
        while True:
            following = ctypes.create_string_buffer(self.key_bytes)
            code = library().call("bpf_map_get_next_key", self.fd, key, following)
            if code:
                return
            yield following.raw
            key = following

    def _look(self, key: bytes, buffer: ctypes.Array[ctypes.c_char]) -> bytes | None:
        try:
            library().number("map lookup", "bpf_map_lookup_elem", self.fd, key, buffer)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return buffer.raw


class Link:
    """One attachment."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    @property
    def fd(self) -> int:
        """Its descriptor, for pinning."""
        return int(library().call("bpf_link__fd", self._pointer))

    @property
    def open(self) -> bool:
        """Not closed yet."""
        return bool(self._pointer)

    def close(self) -> None:
        """Detach, unless it is pinned. A second call does nothing."""
        if self._pointer:
            library().call("bpf_link__destroy", self._pointer)
            self._pointer = 0


class RingBuffer:
    """Samples of a ring buffer map. `fd` can be polled for POLLIN (kernel/bpf/ringbuf.c)."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._samples: list[bytes] = []
        self._callback = SAMPLE(self._take)
        self._pointer = library().pointer(
            "ring buffer", "ring_buffer__new", fd, self._callback, None, None
        )

    def read(self) -> list[bytes]:
        """What has come since the last call; never waits."""
        library().number("ring buffer", "ring_buffer__consume", self._pointer)
        samples, self._samples = self._samples, []
        return samples

    def close(self) -> None:
        """Free the mapping. A second call does nothing."""
        if self._pointer:
            library().call("ring_buffer__free", self._pointer)
            self._pointer = 0

    def _take(self, _: int, data: int, size: int) -> int:
        self._samples.append(ctypes.string_at(data, size))
        return 0


class BpfObject:
    """One compiled object; closing it detaches and frees everything that is not pinned."""

    def __init__(self, path: Path) -> None:
        self.name = path.name.removesuffix(".bpf.o")
        if not path.is_file():
            raise BpfError(errno.ENOENT, f"{path} is missing: the installation is incomplete")
        self._pointer = library().pointer(
            f"open {path.name}", "bpf_object__open_file", str(path).encode(), None
        )
        self._links: list[Link] = []
        self._rings: list[RingBuffer] = []

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of its programs, in the order of the object."""
        return tuple(
            library().call("bpf_program__name", program).decode() for program in self._walk()
        )

    def choose(self, *names: str) -> None:
        """Load only these programs. Before `load`."""
        for name in self.programs:
            library().number(name, "bpf_program__set_autoload", self._program(name), name in names)

    def load(self) -> None:
        """Hand the chosen programs to the verifier and make the maps.

        Raises:
            BpfError: it refuses them, or does not come to an end within `LOAD_LIMIT_S`.
        """
        with load_limit(LOAD_LIMIT_S) as limit:
            try:
                library().number(f"load {self.name}", "bpf_object__load", self._pointer)
            except BpfError as error:
                if not limit.passed:
                    raise
                raise BpfError(
                    errno.ETIMEDOUT,
                    f"load {self.name}: the kernel's verifier takes more than {LOAD_LIMIT_S:g} s",
                ) from error

    def attach(self, program: str) -> Link:
        """Attach by what the program's section says (tp_btf, raw_tp, tracepoint, iter)."""
        return self._linked(
            library().pointer(f"attach {program}", "bpf_program__attach", self._program(program))
        )

    def attach_cgroup(self, program: str, folder: str) -> Link:
        """Attach to a cgroup2 group: it holds for every process in it and below."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return self._linked(
                library().pointer(
                    f"attach {program} to {folder}",
                    "bpf_program__attach_cgroup",
                    self._program(program),
                    fd,
                )
            )
        finally:
            os.close(fd)

    def map(self, name: str) -> Map:
        """A map by its name."""
        found = library().pointer(
            f"map {name}", "bpf_object__find_map_by_name", self._pointer, name.encode()
        )
        return Map(
            library().number(f"map {name}", "bpf_map__fd", found),
            library().call("bpf_map__key_size", found),
            library().call("bpf_map__value_size", found),
            per_cpu=library().call("bpf_map__type", found) in _PER_CPU_TYPES,
        )

    def ring(self, name: str) -> RingBuffer:
        """Read a ring buffer map; closed with the object."""
        self._rings.append(RingBuffer(self.map(name).fd))
        return self._rings[-1]

    def close(self) -> None:
        """Detach and free. A second call does nothing."""
        while self._rings:
            self._rings.pop().close()
        while self._links:
            self._links.pop().close()
        if self._pointer:
            library().call("bpf_object__close", self._pointer)
            self._pointer = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _linked(self, pointer: int) -> Link:
        self._links = [link for link in self._links if link.open]
        self._links.append(Link(pointer))
        return self._links[-1]

    def _program(self, name: str) -> int:
        return library().pointer(
            f"program {name}", "bpf_object__find_program_by_name", self._pointer, name.encode()
        )

    def _walk(self) -> Iterator[int]:
        program = None
        while True:
            program = library().call("bpf_object__next_program", self._pointer, program)
            if not program:
                return
            yield program


def open_object(name: str) -> BpfObject:
    """The object `programs/NAME.bpf.o` that ships with ktune.

    Raises:
        BpfError: no libbpf, or no such object.
    """
    return BpfObject(PROGRAMS / f"{name}.bpf.o")


def pin(fd: int, path: str) -> None:
    """Give a map or link a name in bpffs; it then lives until the name is unlinked."""
    library().number(f"pin {path}", "bpf_obj_pin", fd, path.encode())


def pinned(path: str) -> int:
    """A new descriptor of what is pinned at `path`."""
    return library().number(f"open {path}", "bpf_obj_get", path.encode())
