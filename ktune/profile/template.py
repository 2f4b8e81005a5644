"""The profile that `ktune profile init` writes: small, commented, valid as it is."""

from __future__ import annotations

import re

from ktune.errors import UsageError
from ktune.profile import locate
from ktune.profile.errors import shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")

_TEXT = """\
# yaml-language-server: $schema={schema}
# `ktune plan {name}.yaml` shows what this would do and touches nothing.
ktune: 1
kind: profile
name: {name}
summary: One line about what is tuned, and for what
scope: host                     # host | ephemeral | {{netns: /run/netns/NAME}}

workload:
  # Program and arguments, no shell. Each run is one window: a fixed amount of work, then it ends.
  command: [sysbench, cpu, "--events=20000", "--time=0", run]
  renews: [new_process, new_socket, new_open]   # what each run makes anew
  settle: 1s                    # wait after a change before a window starts
  usual_time: 5s                # about how long one run takes (for the estimate of `plan`)
  timeout: 60s
  metrics:
    # key_value: a line `field=number` or `field: number` of the output; json; duration (seconds)
    time: {{from: duration, unit: s, plausible: [0.1, 60]}}

knobs:
  sysctl:
    vm.swappiness: {{range: [0, 100], step: 10}}
    vm.stat_interval: {{range: [1, 60], log: true}}

objectives: [{{metric: time, direction: minimize}}]
search: {{trials: 30, time: 20m}}
promotion: {{mei: 2%}}            # smaller gains are not worth a change
"""


def template(name: str) -> str:
    """The text of a new profile. Raises UsageError for what can't be a profile's name."""
    if not _NAME.match(name):
        raise UsageError(
            f"{shown(name)} is no profile name: letters, digits, dot, dash and underscore"
        )
    return _TEXT.format(name=name, schema=locate.shipped_dir("schemas") / "profile.schema.json")
