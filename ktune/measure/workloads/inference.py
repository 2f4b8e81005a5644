"""Inference at a fixed rate beside training that takes all it can get. Needs onnxruntime.

usage: inference [--rate N] [--requests N] [--warm-up N] [--size PIXELS] [--trainers N] [--seed N]

The model is ResNet-18 (He et al., 2015; batch normalisation folded into the convolutions, as for
inference) with weights drawn from the seed: what it says of a picture is nonsense, what it costs is
not. One thread answers one request at a time, and a latency counts from when the request was due.
Each trainer (default: one for each CPU that we may use) is a process in a session of its own that
trains a small perceptron by gradient descent until the last answer.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ktune.measure import rights
from ktune.measure.workloads.onnx_format import Graph
from ktune.measure.workloads.options import OptionError, parse

if TYPE_CHECKING:
    import numpy as np

DEFAULTS = {
    **{"rate": 10.0, "requests": 150, "warm-up": 15, "size": 112, "trainers": -1, "seed": 1},
}
_CLASSES = 1000
_FEWEST = 100
"""Below it there is no p99."""
_SLOT = 8


def main(argv: Sequence[str]) -> int:
    """Answer all requests, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        if options["rate"] <= 0 or options["requests"] < _FEWEST or options["warm-up"] < 0:
            raise OptionError(f"--rate is above 0, --requests from {_FEWEST}, --warm-up from 0")
        if not 32 <= options["size"] <= 1024:
            raise OptionError("--size is from 32 to 1024 pixels")
        _one_thread()
        trainers = options["trainers"]
        if trainers < 0:
            trainers = len(os.sched_getaffinity(0))
        numbers = measure(options, trainers)
    except (OSError, OptionError, ImportError) as error:
        print(f"inference: {error}", file=sys.stderr)
        return 1
    for name, value in numbers.items():
        print(f"{name}={value:.4f}")
    return 0


def measure(options: dict[str, float | int], trainers: int) -> dict[str, float]:
    """What is printed. Raises ImportError."""
    answer = answerer(int(options["size"]), int(options["seed"]))
    with mmap.mmap(-1, max(trainers, 1) * _SLOT) as steps:
        pids = [_trainer(steps, number, int(options["seed"])) for number in range(trainers)]
        try:
            before, began = _sum(steps), time.monotonic()
            latencies = serve(answer, options)
            seconds, done = time.monotonic() - began, _sum(steps) - before
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    latencies.sort()
    return {
        "latency_p50_ms": _rank(latencies, 50),
        "latency_p90_ms": _rank(latencies, 90),
        "latency_p99_ms": _rank(latencies, 99),
        "latency_max_ms": latencies[-1] * 1000,
        "requests": len(latencies),
        "train_steps_per_s": done / seconds,
    }


class Answerer:
    """A loaded model with a picture."""

    def __init__(self, model: bytes, picture: np.ndarray) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model, settings, providers=["CPUExecutionProvider"]
        )
        self._picture = picture

    def __call__(self) -> np.ndarray:
        """What the model says of it, one number a class."""
        (said,) = self._session.run(None, {"picture": self._picture})
        found: np.ndarray = said[0]
        return found


def answerer(size: int, seed: int) -> Answerer:
    """Raises ImportError."""
    import numpy as np

    draw = np.random.default_rng(seed)
    picture = draw.standard_normal((1, 3, size, size), dtype=np.float32)
    return Answerer(resnet18(size, seed), picture)


def serve(answer: Answerer, options: dict[str, float | int]) -> list[float]:
    """Seconds from when each request was due, without the first ones."""
    warm_up = int(options["warm-up"])
    found = []
    first_s = time.monotonic() + 0.1
    for number in range(warm_up + int(options["requests"])):
        due_s = first_s + number / options["rate"]
        while (early_s := due_s - time.monotonic()) > 0:
            time.sleep(early_s)
        answer()
        found.append(time.monotonic() - due_s)
    return found[warm_up:]


def resnet18(size: int, seed: int) -> bytes:
    """The model as an ONNX file: `picture` [1, 3, size, size] -> `said` [1, 1000]."""
    import numpy as np

    graph = Graph("resnet18")
    draw = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> str:
        scale = np.float32(math.sqrt(2 / math.prod(shape[1:])))  # He initialisation
        drawn = draw.standard_normal(shape, dtype=np.float32) * scale
        return graph.number(name, shape, drawn.astype("<f4").tobytes())

    def convolution(above: str, name: str, shape: tuple[int, int, int], step: int = 1) -> str:
        out, into, kernel = shape
        inputs = (above, weights(f"{name}.w", out, into, kernel, kernel))
        sides = {"kernel_shape": [kernel] * 2, "strides": [step] * 2, "pads": [kernel // 2] * 4}
        return graph.node("Conv", inputs, name, **sides)

    def block(name: str, above: str, into: int, out: int, step: int) -> str:
        inner = convolution(above, f"{name}.1", (out, into, 3), step)
        inner = graph.node("Relu", [inner], f"{name}.1.relu")
        inner = convolution(inner, f"{name}.2", (out, out, 3))
        if into != out:
            above = convolution(above, f"{name}.down", (out, into, 1), step)
        added = graph.node("Add", [inner, above], f"{name}.add")
        return graph.node("Relu", [added], f"{name}.relu")

    at = graph.node("Relu", [convolution("picture", "first", (64, 3, 7), 2)], "first.relu")
    at = graph.node("MaxPool", [at], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    into = 64
    for stage, out in enumerate((64, 128, 256, 512)):
        at = block(f"{stage}.a", at, into, out, 1 if stage == 0 else 2)
        at = block(f"{stage}.b", at, out, out, 1)
        into = out
    at = graph.node("Flatten", [graph.node("GlobalAveragePool", [at], "mean")], "flat", axis=1)
    graph.node("Gemm", [at, weights("last.w", _CLASSES, into)], "said", transB=1)
    return graph.model({"picture": (1, 3, size, size)}, {"said": (1, _CLASSES)})


def _trainer(steps: mmap.mmap, number: int, seed: int) -> int:
    """Its process id; it counts what it has done in its slot."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()  # and with it a group of the scheduler (sched(7), autogroup)
        rights.die_with_parent(parent)
        _train(steps, number, seed)
    finally:
        os._exit(1)


def _train(steps: mmap.mmap, number: int, seed: int) -> None:
    """Without end: 512 -> 512 -> 10, mean squares, on pictures and labels that are drawn once."""
    import numpy as np

    draw = np.random.default_rng(seed + number)
    inputs = draw.standard_normal((256, 512), dtype=np.float32)
    wanted = draw.standard_normal((256, 10), dtype=np.float32)
    first = draw.standard_normal((512, 512), dtype=np.float32) / np.float32(32)
    second = draw.standard_normal((512, 10), dtype=np.float32) / np.float32(32)
    rate = np.float32(1e-3)
    done = 0
    while True:
        hidden = np.maximum(inputs @ first, 0)
        wrong = (hidden @ second - wanted) / len(inputs)
        back = (wrong @ second.T) * (hidden > 0)
        second -= rate * (hidden.T @ wrong)
        first -= rate * (inputs.T @ back)
        done += 1
        struct.pack_into("=q", steps, number * _SLOT, done)


def _one_thread() -> None:
    """Each process is one: read when the libraries are loaded."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _sum(steps: mmap.mmap) -> int:
    return sum(struct.unpack(f"={len(steps) // _SLOT}q", steps[:]))


def _rank(ordered: Sequence[float], level: int) -> float:
    """Nearest rank, in ms."""
    return ordered[-(-len(ordered) * level // 100) - 1] * 1000


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
