"""Giving back the pages that starting up has mapped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ktune.kernel.residence import CleanMapping, clean_mappings, let_go_of_code

_SMAPS = """\
55d0c8a00000-55d0c8b00000 r-xp 00001000 fe:00 1311 /usr/bin/python3.11
Rss:                 900 kB
Anonymous:             0 kB
Swap:                  0 kB
Locked:                0 kB
VmFlags: rd ex mr mw me
55d0c8b00000-55d0c8b10000 r--p 00101000 fe:00 1311 /usr/bin/python3.11
Rss:                  64 kB
Anonymous:            64 kB
Swap:                  0 kB
Locked:                0 kB
VmFlags: rd mr mw me ac
55d0c8b10000-55d0c8b20000 rw-p 00111000 fe:00 1311 /usr/bin/python3.11
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  0 kB
Locked:                0 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000010000 r--p 00000000 fe:00 77 /lib/x86_64-linux-gnu/libc.so.6
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  4 kB
Locked:                0 kB
VmFlags: rd mr mw me
7f0000010000-7f0000020000 r--p 00000000 fe:00 78 /lib/x86_64-linux-gnu/libm.so.6
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  0 kB
Locked:               64 kB
VmFlags: rd mr mw me lo
7f0000020000-7f0000030000 r--s 00000000 fe:00 79 /var/shared
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  0 kB
Locked:                0 kB
VmFlags: rd mr me ms
7ffd2f1f8000-7ffd2f1fa000 r-xp 00000000 00:00 0 [vdso]
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
Locked:                0 kB
VmFlags: rd ex mr mw me de
"""
_LETS_GO = """
import hashlib, json, pydantic, sqlite3, ssl
from ktune.kernel.residence import let_go_of_code

def resident_kib():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Rss:"))

before = resident_kib()
let_go_of_code()
after = resident_kib()

class Model(pydantic.BaseModel):
    number: int

assert Model(number="7").number == 7 and ssl.create_default_context() is not None
assert hashlib.sha256(b"ktune").hexdigest().startswith("%s")
assert sqlite3.connect(":memory:").execute("select 2 + 2").fetchone() == (4,)
print(json.dumps([before, after]))
"""


def test_only_clean_private_pages_of_files_count() -> None:
    found = list(clean_mappings(_SMAPS.splitlines()))

    assert found == [CleanMapping(0x55D0C8A00000, 0x100000, 900)]


def test_what_the_loader_has_relocated_is_in_no_clean_mapping() -> None:
    """Of this very process: pages of its own never lie in one."""
    private: set[int] = set()
    start = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            start = int(line.split("-")[0], 16)
        elif line.startswith("Anonymous:") and int(line.split()[1]):
            private.add(start)
    clean = {
        item.start for item in clean_mappings(Path("/proc/self/smaps").read_text().splitlines())
    }

    assert clean and private and not clean & private


def test_a_process_that_let_go_is_smaller_and_goes_on() -> None:
    import hashlib
    import json

    script = _LETS_GO % hashlib.sha256(b"ktune").hexdigest()[:8]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert after < before - 4096, "mapped libraries stay resident"


def test_a_host_that_does_not_tell_its_mappings_is_no_error(monkeypatch) -> None:
    monkeypatch.setattr("ktune.kernel.residence._SMAPS", Path("/proc/self/no-such-file"))

    let_go_of_code()
