"""Model of metrics out of what a command prints. `measure/reports.py` bounds what patterns cost."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ktune.adapters.model import FieldSpec
from ktune.adapters.registry import ToolName, adapter
from ktune.profile.errors import shown
from ktune.profile.fields import Flag, Text, Whole, wrong
from ktune.profile.metric_base import MetricBase, MetricSource

MAX_PATTERN = 500
SERIES_NAME = r"^[A-Za-z_:][A-Za-z0-9_:]*$"
LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PERCENTILE = re.compile(r"p[1-9][0-9]?(\.[0-9]{1,4})?\Z")


class OutputMetric(MetricBase):
    """One number of a command's output."""

    tags: ClassVar[frozenset[str]] = frozenset({"from the output"})

    source: Literal[MetricSource.KEY_VALUE, MetricSource.JSON, MetricSource.DURATION] = Field(
        alias="from",
        description="Where the number comes from.",
        examples=["key_value", "json"],
    )
    field: Text | None = Field(
        default=None,
        description="Name in the output (key_value) or dotted path (json); the metric's own "
        "name where it is not given.",
        examples=["throughput", "latency.p99"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> OutputMetric:
        if self.field is not None and self.source is MetricSource.DURATION:
            raise wrong(f"`from: {self.source.value}` takes no field", at=("field",))
        return self


class ToolMetric(MetricBase):
    """A field of a load generator's own report. `tool_checks.py` holds it against the tool."""

    tags: ClassVar[frozenset[str]] = frozenset({"from a load generator"})

    source: ToolName = Field(
        alias="from",
        description="The load generator whose report it is (docs/workloads.md).",
        examples=["pgbench", "fio"],
    )
    field: Text | None = Field(
        default=None,
        max_length=100,
        description="Field of the report, of a part of it `PART.FIELD`; the metric's own name "
        "where it is not given.",
        examples=["latency_p99", "read.iops"],
    )

    def spec(self, name: str) -> FieldSpec | None:
        """What the tool says of the field of the metric of that name; None: it has none such."""
        return adapter(self.source).spec(self.field or name)


class RegexMetric(MetricBase):
    """A number in the output's last line that matches."""

    tags: ClassVar[frozenset[str]] = frozenset({"from a pattern"})

    source: Literal[MetricSource.REGEX] = Field(
        alias="from", description="The last line that matches a pattern.", examples=["regex"]
    )
    pattern: Text = Field(
        min_length=1,
        max_length=MAX_PATTERN,
        description="Regular expression (Python) with the group `value` around the number; it is "
        "searched in each line.",
        examples=[r"took (?P<value>[0-9.]+) s"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> RegexMetric:
        try:
            groups = re.compile(self.pattern).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise wrong(f"no regular expression: {error}", at=("pattern",)) from None
        if "value" not in groups:
            raise wrong("it needs a group named value, such as (?P<value>[0-9.]+)", at=("pattern",))
        return self


class CsvMetric(MetricBase):
    """A column of a table with commas, reduced to one number."""

    tags: ClassVar[frozenset[str]] = frozenset({"from a table"})

    source: Literal[MetricSource.CSV] = Field(
        alias="from", description="A table that the command prints.", examples=["csv"]
    )
    column: Annotated[Text, Field(min_length=1)] | Annotated[Whole, Field(ge=0)] = Field(
        description="Name of the column in the first row, or its number from 0.",
        examples=["rps", 2],
    )
    where: dict[Text, Text] = Field(
        default_factory=dict,
        max_length=8,
        description="Only rows with these words in these columns.",
        examples=[{"test": "GET"}],
    )
    how: Text = Field(
        default="last",
        alias="as",
        description="What becomes of several rows: last, first, only (exactly one), mean, median, "
        "min, max, sum, or a percentile such as p99.",
        examples=["mean", "p99"],
    )
    header: Flag = Field(
        default=True,
        description="Whether the first row names the columns; without, columns are numbers.",
        examples=[False],
    )
    separator: Text = Field(
        default=",",
        min_length=1,
        max_length=1,
        description="What stands between the columns.",
        examples=[";", "\t"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> CsvMetric:
        words = ("last", "first", "only", "mean", "median", "min", "max", "sum")
        if self.how not in words and not _PERCENTILE.match(self.how):
            raise wrong(
                f"expected one of {', '.join(words)} or a percentile such as p99", at=("as",)
            )
        if self.separator in '"\r\n':
            raise wrong("a separator is no quote and no line break", at=("separator",))
        if not self.header:
            for name in (self.column, *self.where):
                if not str(name).isdecimal():
                    raise wrong(
                        f"{shown(name)} names a column: without a header there are only numbers",
                        at=("column",) if name == self.column else ("where", name),
                        key=name != self.column,
                    )
        return self


class PageMetric(MetricBase):
    """A series of the page in the Prometheus text format that the command prints."""

    tags: ClassVar[frozenset[str]] = frozenset({"from a printed page"})

    source: Literal[MetricSource.PROMETHEUS_TEXT] = Field(
        alias="from",
        description="A page in the Prometheus text format on the standard output.",
        examples=["prometheus_text"],
    )
    name: Text = Field(
        pattern=SERIES_NAME,
        max_length=256,
        description="Name of the series.",
        examples=["requests_total"],
    )
    labels: dict[Text, Text] = Field(
        default_factory=dict,
        max_length=16,
        description="Labels that the series must have: exactly one may match.",
        examples=[{"method": "GET"}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> PageMetric:
        for label in self.labels:
            if not LABEL_NAME.match(label):
                raise wrong(f"{shown(label)} can't name a label", at=("labels", label), key=True)
        return self


PrintedMetric = OutputMetric | ToolMetric | RegexMetric | CsvMetric | PageMetric
"""A metric out of what a command prints when it has ended."""
