"""What a running workload looks like from outside: names of the whole numbers a tree may ask for.

They are rates and shares of one sampling interval; `measure.fingerprint` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping

FEATURES: Mapping[str, str] = {
    "cpu_busy": "CPU time not idle, in percent of all CPUs (proc_stat(5))",
    "cpu_pressure": "time in which some task waited for a CPU, in percent (PSI total)",
    "memory_pressure": "time in which some task waited for memory, in percent (PSI total)",
    "io_pressure": "time in which some task waited for a disk, in percent (PSI total)",
    "disk_requests": "disk requests completed a second, reads and writes (diskstats)",
    "disk_read_share": "reads among the disk requests, in percent; 0 without requests",
    "read_kib_per_request": "mean size of a disk read in KiB",
    "write_kib_per_request": "mean size of a disk write in KiB",
    "major_faults": "page faults that waited for a disk, a second (vmstat pgmajfault)",
    "file_pages_read_kib": "KiB read from disks a second (vmstat pgpgin)",
    "packets": "packets received and sent a second on all interfaces of the scope (netdev)",
    "bytes_per_packet": "mean size of a packet; 0 without packets",
    "context_switches": "context switches a second (proc_stat(5) ctxt)",
    "forks": "new processes a second (proc_stat(5) processes)",
}
"""By name: what it is, for people."""
