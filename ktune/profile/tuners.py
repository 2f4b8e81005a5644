"""Programs that tune by themselves and would work against us. Reads the process list only."""

from __future__ import annotations

from ktune.profile.plan import ActiveTuner

KNOWN = ("tuned", "bpftune", "irqbalance", "kubelet")


def active_tuners() -> tuple[ActiveTuner, ...]:
    """Those of `KNOWN` that run now, by process name or by the script that Python runs."""
    import psutil  # 30 ms: only plans need it

    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        name = _which(process.info["name"] or "", process.info["cmdline"] or [])
        if name:
            found.append(ActiveTuner(name, process.pid))
    return tuple(sorted(found, key=lambda tuner: (tuner.name, tuner.pid)))


def _which(name: str, argv: list[str]) -> str | None:
    if name in KNOWN:
        return name
    if name.startswith("python"):
        # tuned is a Python script: `/usr/bin/python3 -Es /usr/sbin/tuned -l -P`.
        script = next((word for word in argv[1:] if not word.startswith("-")), "")
        base = script.rpartition("/")[2]
        return base if base in KNOWN else None
    return None
