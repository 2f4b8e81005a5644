"""ctypes on libbpf.so.1: the functions that ktune calls, with libbpf's own words in each error.

Why libbpf and not the bpf(2) system call alone: relocating map references and CO-RE fields against
the running kernel's BTF is what libbpf does well, and its ABI has been stable since 1.0 (2022;
github.com/libbpf/libbpf, README). Why not a Python package: none of those on PyPI loads a compiled
object without a compiler or a copy of libbpf of its own. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Any

LIBRARY = "libbpf.so.1"
SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
"""int sample(void *context, void *data, size_t size), as ring_buffer__new takes it."""

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_TEXT = ctypes.c_char_p
_U64 = ctypes.c_uint64
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "libbpf_version_string": (_TEXT,),
    "libbpf_num_possible_cpus": (_INT,),
    "bpf_object__open_file": (_POINTER, _TEXT, _POINTER),
    "bpf_object__load": (_INT, _POINTER),
    "bpf_object__close": (None, _POINTER),
    "bpf_object__find_program_by_name": (_POINTER, _POINTER, _TEXT),
    "bpf_object__next_program": (_POINTER, _POINTER, _POINTER),
    "bpf_object__find_map_by_name": (_POINTER, _POINTER, _TEXT),
    "bpf_program__name": (_TEXT, _POINTER),
    "bpf_program__set_autoload": (_INT, _POINTER, ctypes.c_bool),
    "bpf_program__attach": (_POINTER, _POINTER),
    "bpf_program__attach_cgroup": (_POINTER, _POINTER, _INT),
    "bpf_link__destroy": (_INT, _POINTER),
    "bpf_link__fd": (_INT, _POINTER),
    "bpf_map__fd": (_INT, _POINTER),
    "bpf_map__type": (_INT, _POINTER),
    "bpf_map__key_size": (ctypes.c_uint32, _POINTER),
    "bpf_map__value_size": (ctypes.c_uint32, _POINTER),
    "bpf_map_update_elem": (_INT, _INT, _POINTER, _POINTER, _U64),
    "bpf_map_lookup_elem": (_INT, _INT, _POINTER, _POINTER),
    "bpf_map_delete_elem": (_INT, _INT, _POINTER),
    "bpf_map_get_next_key": (_INT, _INT, _POINTER, _POINTER),
    "bpf_obj_pin": (_INT, _INT, _TEXT),
    "bpf_obj_get": (_INT, _TEXT),
    "ring_buffer__new": (_POINTER, _INT, SAMPLE, _POINTER, _POINTER),
    "ring_buffer__consume": (_INT, _POINTER),
    "ring_buffer__free": (None, _POINTER),
}
_PRINT = ctypes.CFUNCTYPE(_INT, _INT, _POINTER, _POINTER)
_WARNING = 0
_KEPT_LINES = 200
_MESSAGE_BYTES = 1 << 20
"""A verifier log comes as one message and says why at its end."""


class BpfError(OSError):
    """A BPF step failed. `errno` is the kernel's, `strerror` says which step and why."""

    @property
    def why(self) -> str:
        """One line for people."""
        return str(self.strerror)


class Library:
    """libbpf, loaded once for each process (`library()`)."""

    def __init__(self) -> None:
        """Raises BpfError: the library is not there, or too old to have what is called."""
        try:
            self._lib = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            raise BpfError(
                errno.ENOENT, f"{LIBRARY} can't be loaded ({error}); Debian: apt install libbpf1"
            ) from error
        self._calls: dict[str, Callable[..., Any]] = {}
        for name, (result, *arguments) in _PROTOTYPES.items():
            try:
                call = getattr(self._lib, name)
            except AttributeError as error:
                raise BpfError(errno.ENOSYS, f"{LIBRARY} has no {name}") from error
            call.restype, call.argtypes = result, arguments
            self._calls[name] = call
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.argtypes = (_POINTER, ctypes.c_size_t, _POINTER, _POINTER)
        self._keep = _PRINT(self._hear)
        self._lib.libbpf_set_print(self._keep)
        self.version = self.call("libbpf_version_string").decode()

    def call(self, name: str, *arguments: Any) -> Any:
        """Call without judging the result."""
        return self._calls[name](*arguments)

    def pointer(self, what: str, name: str, *arguments: Any) -> int:
        """Call a function that returns a pointer. Raises BpfError when it is NULL."""
        self._said.clear()
        found = self._calls[name](*arguments)
        if not found:
            self.fail(what, ctypes.get_errno())
        return int(found)

    def number(self, what: str, name: str, *arguments: Any) -> int:
        """Call a function that returns a number. Raises BpfError when it is negative (-errno)."""
        self._said.clear()
        found = int(self._calls[name](*arguments))
        if found < 0:
            self.fail(what, -found if -found in errno.errorcode else ctypes.get_errno())
        return found

    def fail(self, what: str, code: int) -> None:
        """Raise BpfError with libbpf's last words."""
        said = _reason(list(self._said))
        text = os.strerror(code) if code else "no reason given"
        raise BpfError(code or errno.EIO, f"{what}: {text}" + (f" ({said})" if said else ""))

    def _hear(self, level: int, pattern: int, values: int) -> int:
        """libbpf's print callback. `values` is a va_list, which the ABIs of x86-64 and arm64 pass
        as a pointer."""
        if level == _WARNING:
            buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
            self._vsnprintf(buffer, _MESSAGE_BYTES, pattern, values)
            self._said.extend(buffer.value.decode("utf-8", "replace").splitlines())
        return 0


def _reason(lines: list[str]) -> str:
    """The line of libbpf's or the verifier's output that says why.

    >>> _reason(["libbpf: prog 'x': BPF program load failed: Invalid argument", "R1 invalid"])
    'R1 invalid'
    """
    passed_over = ("--", "processed ", "libbpf: failed to load", "0:", "libbpf: prog ")
    telling = [line.strip() for line in lines if line.strip()]
    inner = [line for line in telling if not line.startswith(passed_over)]
    chosen = (inner or telling)[-1:]
    return chosen[0].removeprefix("libbpf: ") if chosen else ""


_loaded: list[Library] = []


def library() -> Library:
    """libbpf of this process.

    Raises:
        BpfError: it is not there; tried again at the next call.
    """
    if not _loaded:
        _loaded.append(Library())
    return _loaded[0]
