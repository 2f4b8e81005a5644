"""The bundled inference load: a model of our own writing, answered by onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.measure import from_profile
from ktune.measure.from_profile import workload_spec
from ktune.measure.specs import MetricSpec, WorkloadSpec
from ktune.measure.workloads import inference, onnx_format
from ktune.profile.load import load_profile
from tests.measure.helpers import ROOT, window

NUMBERS = ("latency_p50_ms", "latency_p99_ms", "latency_max_ms", "requests", "train_steps_per_s")
PROFILE = ROOT / "profiles" / "ai-inference-latency.yaml"


def needed() -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install onnxruntime")


def test_a_model_is_written_as_the_format_has_it() -> None:
    graph = onnx_format.Graph("g")
    graph.node("Gemm", ["x", graph.number("w", (1, 2), b"\0" * 8)], "y", transB=1)
    model = graph.model({"x": (1, 2)}, {"y": (1, 1)})
    node = b"\x0a\x01x\x0a\x01w\x12\x01y\x22\x04Gemm\x2a\x0d\x0a\x06transB\x18\x01\xa0\x01\x02"
    assert b"\x0a" + bytes([len(node)]) + node in model
    assert (
        b"\x08\x01\x08\x02\x10\x01\x42\x01w\x4a\x08" + b"\0" * 8 in model
    )  # dims, kind, name, raw
    assert model.endswith(b"\x42\x04\x0a\x00\x10\x11")  # opset 17


@pytest.mark.full
def test_the_model_is_resnet18_and_the_same_for_the_same_seed() -> None:
    needed()
    import numpy as np

    one, same, other = (inference.resnet18(64, seed) for seed in (1, 1, 2))
    assert one == same != other
    parameters = 4 * (11_689_512 - 9_600 - 1_000)  # torchvision's, less batch norm and last bias
    assert parameters < len(one) < parameters + 10_000
    said = inference.answerer(64, 1)()
    assert said.shape == (1000,)
    assert np.isfinite(said).all() and said.std() > 0.1
    assert np.array_equal(said, inference.answerer(64, 1)())


@pytest.mark.full
def test_a_window_answers_beside_training_and_leaves_nobody_behind(root: None) -> None:
    needed()
    workload = load_profile(PROFILE).workload
    assert workload is not None
    spec = workload_spec(workload)
    assert spec.bundled is None
    few = (
        "--requests",
        "100",
        "--warm-up",
        "0",
        "--rate",
        "200",
        "--size",
        "32",
        "--trainers",
        "1",
    )
    small = WorkloadSpec(
        (*spec.argv, *few), tuple(map(MetricSpec, NUMBERS)), None, spec.user, timeout_s=90
    )
    result = window(small)
    assert result.valid, result.reason
    assert result.notes == ()
    numbers = result.metrics
    assert numbers["requests"] == 100
    assert 0 < numbers["latency_p50_ms"] <= numbers["latency_p99_ms"] <= numbers["latency_max_ms"]
    assert numbers["train_steps_per_s"] > 0


def test_a_late_answer_makes_the_next_ones_late() -> None:
    pauses = iter([0.2, *[0.0] * 9])

    class Slow(inference.Answerer):
        def __init__(self) -> None:
            """Without a model."""

        def __call__(self) -> None:  # type: ignore[override]
            inference.time.sleep(next(pauses))

    late = inference.serve(Slow(), {"rate": 100.0, "requests": 10, "warm-up": 0})
    assert late[0] >= 0.2
    assert all(one > 0.2 - number * 0.01 for number, one in enumerate(late))


def test_without_the_package_a_run_is_refused_and_bad_options_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    workload = load_profile(PROFILE, state_dir=str(tmp_path)).workload
    assert workload is not None
    monkeypatch.setattr(from_profile, "find_spec", lambda _: None)
    with pytest.raises(RefusedError, match="ktune-inference needs onnxruntime") as refused:
        workload_spec(workload)
    assert refused.value.hint == "pip install 'ktune[inference]'"
    before = os.environ.get("OMP_NUM_THREADS")
    for options in (["--rate", "0"], ["--requests", "99"], ["--size", "9"]):
        assert inference.main(options) == 1
        assert capsys.readouterr().err.startswith("inference: ")
    assert os.environ.get("OMP_NUM_THREADS") == before
