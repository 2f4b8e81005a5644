"""The bundled loads of memory, files, logs and builds, each in a small size."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.measure.from_profile import workload_spec
from ktune.measure.specs import MetricSpec, WorkloadSpec
from ktune.measure.workloads import (
    cold_memory,
    compile_c,
    log_append,
    memory_touch,
    overwrite,
    pointer_chase,
    small_files,
)
from ktune.profile.load import load_profile
from tests.depth import examples
from tests.measure.helpers import ROOT, window
from tests.measure.servers import folder, program


def printed(load: ModuleType, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, float]:
    """The numbers of a load that must succeed."""
    code = load.main(list(argv))
    shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    return {key: float(value) for key, value in (x.split("=") for x in shown.out.splitlines())}


def refused(load: ModuleType, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The words of a load that must fail."""
    assert load.main(list(argv)) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.mark.parametrize(
    ("name", "load", "small"),
    [
        ("hpc-memory", pointer_chase, ["--size", "4M", "--steps", "1000"]),
        (
            "memory-pressure-swap",
            memory_touch,
            ["--size", "2M", "--runs", "100", "--file-size", "1M"],
        ),
        ("many-small-files", small_files, ["--files", "20"]),
        ("damon-reclaim", cold_memory, ["--cold", "1M", "--hot", "2M", "--pause-ms", "0"]),
        ("log-append", log_append, ["--records", "800", "--warm-up", "0"]),
        ("compile", compile_c, ["--units", "2", "--functions", "2"]),
    ],
)
def test_a_load_prints_what_its_profile_reads(
    name: str,
    load: ModuleType,
    small: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if load is compile_c:
        program("cc", "gcc libc6-dev")
    workload = load_profile(ROOT / "profiles" / f"{name}.yaml", state_dir=str(tmp_path)).workload
    assert workload is not None
    spec = workload_spec(workload)
    assert spec.bundled == load.__name__
    numbers = printed(load, capsys, *spec.argv, *small)
    assert {metric.field for metric in spec.metrics} <= numbers.keys()
    # What a profile says of its amounts is what its command does.
    assert str(workload.measure.count) in spec.argv  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("load", "metric", "arguments"),
    [
        (pointer_chase, "steps", ["--size", "4M", "--steps", "1000"]),
        (memory_touch, "touches", ["--size", "4M", "--runs", "200"]),
        (small_files, "files", ["--files", "20", "--folder"]),
        (log_append, "records", ["--records", "80", "--warm-up", "0", "--folder"]),
        (overwrite, "writes", ["--fill", "0.0001", "--writes", "50", "--folder"]),
        (compile_c, "units", ["--units", "2", "--functions", "2", "--folder"]),
    ],
)
def test_a_load_works_as_nobody_who_may_import_nothing(
    load: ModuleType, metric: str, arguments: list[str]
) -> None:
    if load is compile_c:
        program("cc", "gcc libc6-dev")
    with folder() as home:
        place = [str(home)] if arguments[-1] == "--folder" else []
        spec = WorkloadSpec(
            (*arguments, *place), (MetricSpec(metric),), bundled=load.__name__, timeout_s=60
        )
        result = window(spec)
    assert result.valid, result.reason
    assert result.metrics[metric] > 1


@settings(max_examples=examples(20))
@given(st.integers(0, 2**32), st.integers(9, 12))
def test_a_chain_visits_every_page_once_and_comes_back(seed: int, power: int) -> None:
    pages = 1 << power
    with mmap.mmap(-1, pages * 4096) as memory, memoryview(memory) as raw, raw.cast("Q") as words:
        first = at = pointer_chase.link(words, seed)
        visited = set()
        for _ in range(pages):
            visited.add(at * 8 // 4096)
            at = words[at]
        assert at == first
        assert visited == set(range(pages))
        assert pointer_chase.chase(words, first, pages)[1] == first


def test_a_chase_tells_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = printed(pointer_chase, capsys, "--size", "4M", "--steps", "5000")
    assert numbers["steps"] == 5000
    assert numbers["steps_per_s"] == pytest.approx(5000 / numbers["seconds"], rel=0.01)
    assert numbers["fault_mib_per_s"] > 0


@pytest.mark.parametrize("size", ["3M", "1M", "0"])
def test_a_chase_wants_a_power_of_two(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "power of two" in refused(pointer_chase, capsys, "--size", size)


@pytest.mark.parametrize("durable", ["0", "1"])
def test_small_files_come_and_go(
    durable: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "below"
    old = folder / "ktune-small-files" / "00000"
    old.mkdir(parents=True)
    (old / "0000000").write_text("left by a run that was killed")
    (folder / "mine").write_text("somebody's")

    numbers = printed(
        small_files, capsys, "--folder", str(folder), "--files", "250", "--durable", durable
    )

    assert numbers["files"] == 250
    parts = sum(numbers[f"{part}_seconds"] for part in ("write", "look", "read", "remove"))
    assert numbers["seconds"] == pytest.approx(parts, abs=1e-5)
    assert [path.name for path in folder.iterdir()] == ["mine"]


@settings(max_examples=examples(100))
@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 2**32))
def test_sizes_stay_within_their_limits(one: int, two: int, seed: int) -> None:
    least, most = sorted((one, two))
    found = small_files.sizes(50, least, most, seed)
    assert all(least <= size <= most for size in found)
    assert found == small_files.sizes(50, least, most, seed)


def test_small_files_without_room_end_with_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = refused(small_files, capsys, "--folder", str(tmp_path / "file" / "below"))
    assert words.startswith("small_files: ")
    assert "Not a directory" in words


def test_a_log_is_written_whole_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    sync = os.fdatasync

    def watched(fd: int) -> None:
        lengths.append(os.fstat(fd).st_size)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", watched)
    numbers = printed(
        log_append, capsys, "--folder", str(tmp_path), "--records", "400", "--size", "100",
        "--group", "4", "--warm-up", "20",
    )  # fmt: skip
    # A sync after each four records, warm-up included.
    assert lengths == [400 * group for group in range(1, 106)]
    assert numbers["records"] == 400
    assert 0 < numbers["sync_p50_ms"] <= numbers["sync_p99_ms"] <= numbers["sync_max_ms"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--records", "10", "--group", "4"], "whole groups"),
        (["--warm-up", "3"], "whole groups"),
        (["--group", "0"], "--group"),
        (["--folder", ""], "--folder is needed"),
    ],
)
def test_a_log_that_can_not_be_is_refused(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(log_append, capsys, "--folder", str(tmp_path), *more)


def test_a_build_is_checked_by_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("cc", "gcc libc6-dev")
    small = ["--units", "3", "--functions", "4", "--folder", str(tmp_path)]
    numbers = printed(compile_c, capsys, *small)
    assert numbers["units"] == 3
    assert numbers["seconds"] == pytest.approx(
        numbers["compile_seconds"] + numbers["link_seconds"], abs=1e-5
    )
    assert list(tmp_path.iterdir()) == []

    evaluate = compile_c._evaluate
    monkeypatch.setattr(compile_c, "_evaluate", lambda x, body: evaluate(x, body) ^ 1)
    assert "the program printed " in refused(compile_c, capsys, *small)


def test_a_compiler_that_fails_or_is_missing_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--units", "2", "--functions", "1", "--folder", str(tmp_path)]
    words = refused(compile_c, capsys, *small, "--compiler", "no-such-cc")
    assert "no C compiler no-such-cc: apt-get install gcc" in words
    assert " failed (1)" in refused(compile_c, capsys, *small, "--compiler", "false")
    assert list(tmp_path.iterdir()) == []
