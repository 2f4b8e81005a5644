"""The profile: what a person writes (format: docs/profile-format.md).

Untrusted data: strict, bounded, frozen. Loading with positions and inheritance is in `load.py`;
nothing here touches the host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PrivateAttr, Tag

from ktune.adapters.model import Better
from ktune.evidence.pairs import Direction
from ktune.profile.contexts import ContextSettings
from ktune.profile.errors import Mark, did_you_mean, shown
from ktune.profile.fairness import Fairness
from ktune.profile.fields import (
    AbsolutePath,
    CountExpression,
    Model,
    Name,
    Number,
    OneOrMany,
    Setting,
    SizeExpression,
    Text,
    UniqueNames,
    VersionExpression,
    wrong,
)
from ktune.profile.fits import Fits
from ktune.profile.goals import (
    Constraint,
    Objective,
    Promotion,
    Safety,
    SearchSettings,
)
from ktune.profile.knobs import Knobs, Relation, parse_relation
from ktune.profile.output_metrics import ToolMetric
from ktune.profile.sensor_metric import SensorMetric
from ktune.profile.services.kinds import Service
from ktune.profile.watching import WatchSettings
from ktune.profile.workload import Workload
from ktune.profile.yaml12 import Node, dump_yaml

_DIRECTIONS = {Better.MORE: Direction.MAXIMIZE, Better.LESS: Direction.MINIMIZE}


def digest(data: object) -> str:
    """`sha256:...` of data as JSON with sorted keys and no blanks."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class NetnsScope(Model):
    """An existing network namespace."""

    netns: AbsolutePath = Field(
        description="Path of the namespace file.", examples=["/run/netns/lab"]
    )


def _known_scope(value: object) -> object:
    if isinstance(value, dict) or value in ("host", "ephemeral"):
        return value
    raise wrong(
        f"unknown scope {shown(value)}{did_you_mean(str(value), ('host', 'ephemeral'))} "
        "(allowed: host, ephemeral, {netns: PATH})"
    )


Scope = Annotated[
    Annotated[Literal["host", "ephemeral"], Tag("word")] | Annotated[NetnsScope, Tag("netns")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "netns"),
    BeforeValidator(_known_scope),
]

Virtualisation = Literal["none", "any", "kvm", "vmware", "hyperv", "xen", "virtualbox", "other"]


class When(Model):
    """Conditions of the host; where one is false, the profile does not fit and is refused."""

    kernel: VersionExpression | None = Field(
        default=None,
        description="Kernel version: comparisons joined by commas, or a list of them.",
        examples=[">= 6.1, < 6.13"],
    )
    cpus: CountExpression | None = Field(
        default=None, description="Number of online CPUs.", examples=[">= 2"]
    )
    mem: SizeExpression | None = Field(
        default=None, description="Memory of the machine (MemTotal).", examples=[">= 16GiB"]
    )
    virt: Annotated[tuple[Virtualisation, ...], OneOrMany] | None = Field(
        default=None,
        description="Virtualisation, one or several: none is bare metal, any is any guest.",
        examples=["none", ["kvm", "xen"]],
    )
    file_exists: Annotated[tuple[AbsolutePath, ...], OneOrMany] | None = Field(
        default=None,
        description="Files that must all exist.",
        examples=["/sys/kernel/mm/transparent_hugepage/enabled"],
    )


def _relation(value: str) -> str:
    try:
        return str(parse_relation(value))
    except ValueError as error:
        raise wrong(str(error)) from None


def _known_baseline(value: object) -> object:
    if isinstance(value, dict) or value == "current":
        return value
    raise wrong(f"expected `current` or a mapping of knobs to values, found {shown(value)}")


Baseline = Annotated[
    Annotated[Literal["current"], Tag("current")] | Annotated[dict[str, Setting], Tag("explicit")],
    Discriminator(lambda value: "current" if isinstance(value, str) else "explicit"),
    BeforeValidator(_known_baseline),
]


@dataclass(frozen=True)
class Source:
    """Where a profile came from: its tree with positions, before and after variables."""

    path: str
    tree: Node
    """After inheritance and substitution: what the model was built from."""
    flattened: Mapping[str, object]
    """After inheritance, before substitution: the same on every host; the digest is of this."""
    state_dir: str = ""
    """What `${state_dir}` meant."""


class Profile(Model):
    """A declarative tuning profile."""

    ktune: Literal[1] = Field(description="Version of the file format.", examples=[1])
    kind: Literal["profile"] = Field(description="What this file is.", examples=["profile"])
    name: Name = Field(description="Name of the profile.", examples=["postgresql-oltp"])
    summary: Text = Field(
        default="",
        max_length=500,
        description="One line: what is tuned, for what.",
        examples=["PostgreSQL, more transactions per second at a bounded p99"],
    )
    scope: Scope = Field(
        default="host",
        description="Where the knobs live: host, a namespace that the run makes (ephemeral), or "
        "an existing network namespace.",
        examples=["host", "ephemeral", {"netns": "/run/netns/lab"}],
    )
    extends: Annotated[tuple[Name, ...], UniqueNames] = Field(
        default=(),
        max_length=16,
        description="Profiles this one builds on: later ones override earlier ones, this file "
        "overrides all.",
        examples=[["server-base"]],
    )
    when: When = Field(
        default_factory=When,
        description="Hosts that this profile is for.",
        examples=[{"kernel": ">= 6.1", "cpus": ">= 2"}],
    )
    fits: Fits | None = Field(
        default=None,
        description="What it is for: `ktune profile recommend` compares it with what runs. Not "
        "inherited.",
        examples=[{"to": "a Redis", "programs": ["redis-server"], "ports": [6379]}],
    )
    vars: dict[Name, Text | Number] = Field(
        default_factory=dict,
        description="Variables, used as ${vars.NAME}; may use host facts such as ${mem.total}, "
        "${cpu.count}, ${disk.of:/path}, ${state_dir}.",
        examples=[{"disk": "${disk.of:/var/lib/data}"}],
    )
    services: tuple[Service, ...] = Field(
        default=(),
        description="What the workload needs around it, started before and stopped after it.",
        examples=[[{"kind": "link", "rtt": "20ms", "rate": "unlimited"}]],
    )
    workload: Workload | None = Field(
        default=None,
        description="What each window runs; a profile only meant to be extended has none.",
        examples=[
            {
                "command": ["sysbench", "cpu", "--events=20000", "run"],
                "metrics": {"time": {"from": "duration", "plausible": [0.1, 100]}},
            }
        ],
    )
    knobs: Knobs = Field(
        default_factory=Knobs,
        description="The knobs to search and their limits.",
        examples=[{"sysctl": {"vm.swappiness": {"range": [0, 100]}}}],
    )
    relations: tuple[Annotated[Text, AfterValidator(_relation)], ...] = Field(
        default=(),
        description="Relations that every candidate satisfies: KNOB OPERATOR KNOB-or-integer, "
        "operators < <= > >=; KNOB[2] is an element of a vector.",
        examples=[["vm.dirty_background_ratio < vm.dirty_ratio"]],
    )
    baseline: Baseline = Field(
        default="current",
        description="What candidates are compared with: the values found, or (ephemeral scope "
        "only) explicit ones.",
        examples=["current", {"net.ipv4.tcp_rmem": "4096 131072 6291456"}],
    )
    expert: tuple[dict[str, Setting], ...] = Field(
        default=(),
        max_length=64,
        description="Known-good settings that the search tries first.",
        examples=[[{"vm.swappiness": 10}]],
    )
    objectives: tuple[Objective, ...] = Field(
        default=(),
        max_length=32,
        description="What to improve, one or several.",
        examples=[[{"metric": "tps", "direction": "maximize"}]],
    )
    constraints: tuple[Constraint, ...] = Field(
        default=(),
        description="What a candidate must satisfy.",
        examples=[[{"metric": "p99", "worse_by_at_most": "5%"}]],
    )
    safety: Safety = Field(
        default_factory=Safety,
        description="Guardrails that restore at once.",
        examples=[{"max_trips": 3}],
    )
    fairness: Fairness = Field(
        default_factory=Fairness,
        description="What may happen around a window before it no longer counts.",
        examples=[{"others": "10%"}],
    )
    search: SearchSettings = Field(
        default_factory=SearchSettings,
        description="How candidates are proposed, how many, and when to stop.",
        examples=[{"sampler": "tpe", "trials": 40}],
    )
    promotion: Promotion = Field(
        default_factory=Promotion,
        description="The proof that a candidate must pass.",
        examples=[{"alpha": 0.05, "mei": "2%"}],
    )

    watch: WatchSettings = Field(
        default_factory=WatchSettings,
        description="How `ktune watch` looks after a policy of this profile.",
        examples=[{"holdback_every": "1h"}],
    )
    contexts: ContextSettings = Field(
        default_factory=ContextSettings,
        description="How quickly a policy with several phases switches (`tune --contexts`).",
        examples=[{"sample": "2s", "dwell": "30s"}],
    )

    _source: Source | None = PrivateAttr(default=None)

    @property
    def parsed_relations(self) -> tuple[Relation, ...]:
        """`relations`, parsed."""
        return tuple(parse_relation(text) for text in self.relations)

    @property
    def source(self) -> Source:
        """Where it was loaded from. Raises ValueError for one that was built in memory."""
        if self._source is None:
            raise ValueError("this profile was not loaded from a file")
        return self._source

    @property
    def digest(self) -> str:
        """`sha256:...` of the canonical form: inheritance done, variables not yet replaced."""
        return digest(self.source.flattened)

    @property
    def text(self) -> str:
        """The profile as one self-contained YAML file: `parse_profile` reads it back, with the
        same digest, without its parents."""
        return dump_yaml(self.source.flattened)

    def where(self, *path: str | int) -> Mark:
        """The place of a value, or of the nearest thing around it that the file does have."""
        return self._source.tree.locate(path).mark if self._source else Mark("<profile>")

    def where_key(self, *path: str | int) -> Mark:
        """The place of the key that leads to a value."""
        if self._source is None:
            return Mark("<profile>")
        node = self._source.tree.locate(path)
        return node.key_mark or node.mark

    def better(self, metric: str) -> Direction | None:
        """Which way a metric gets better: by objective, constraint, or unit; None: not known."""
        stated = [(goal.metric, goal.direction) for goal in self.objectives]
        stated += [(c.metric, c.direction) for c in self.constraints if c.direction is not None]
        for name, direction in stated:
            if name == metric:
                return direction
        known = self.workload.metrics.get(metric) if self.workload else None
        if isinstance(known, SensorMetric):
            return Direction.MINIMIZE  # all of them are waits, or work that nobody wants
        if isinstance(known, ToolMetric):
            return _DIRECTIONS.get(spec.better) if (spec := known.spec(metric)) else None
        unit = known.unit if known else ""
        if unit in ("s", "ms", "us", "ns"):
            return Direction.MINIMIZE
        return Direction.MAXIMIZE if unit.endswith("/s") else None
