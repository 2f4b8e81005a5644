"""Writes ONNX models, as far as `inference` needs it. Standard library only.

Source: onnx.proto3 of ONNX (field numbers), Protocol Buffers' encoding. Reading one is a library's
business (onnxruntime); writing takes no more than this.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_FLOAT = 1
_INT, _INTS, _REAL = 2, 7, 1
_IR_VERSION, _OPSET = 8, 17

Attribute = int | float | Sequence[int]


class Graph:
    """Nodes in their order and the numbers that they need."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._numbers: list[bytes] = []

    def number(self, name: str, shape: Sequence[int], floats: bytes) -> str:
        """A tensor of 32-bit floats, little-endian; its name."""
        dims = b"".join(_whole(1, size) for size in shape)
        self._numbers.append(dims + _whole(2, _FLOAT) + _text(8, name) + _part(9, floats))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> str:
        """An operator with one output; the output's name."""
        words = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, kind)
        words += b"".join(_part(5, _attribute(*item)) for item in attributes.items())
        self._nodes.append(words)
        return output

    def model(
        self, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]]
    ) -> bytes:
        """The whole file."""
        graph = b"".join(_part(1, node) for node in self._nodes) + _text(2, self._name)
        graph += b"".join(_part(5, tensor) for tensor in self._numbers)
        graph += b"".join(_part(11, _value(*item)) for item in inputs.items())
        graph += b"".join(_part(12, _value(*item)) for item in outputs.items())
        opset = _part(8, _text(1, "") + _whole(2, _OPSET))
        return _whole(1, _IR_VERSION) + _text(2, "ktune") + _part(7, graph) + opset


def _value(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_part(1, _whole(1, size)) for size in shape)
    return _text(1, name) + _part(2, _part(1, _whole(1, _FLOAT) + _part(2, dims)))


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _whole(3, value) + _whole(20, _INT)
    if isinstance(value, float):
        number = _varint(2 << 3 | _FIXED32) + struct.pack("<f", value)
        return _text(1, name) + number + _whole(20, _REAL)
    return _text(1, name) + b"".join(_whole(8, item) for item in value) + _whole(20, _INTS)


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _whole(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
