"""The kernel's canonical texts are those of ktune.kernel.values; names are matched narrowly."""

from __future__ import annotations

import ctypes as c
import errno

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ktune.kernel.values import ValueFormatError, ValueType, format_value, parse
from ktune.proxy.module import device
from tests.depth import examples
from tests.kmod import core, plan


@pytest.fixture(scope="session")
def lib(tmp_path_factory: pytest.TempPathFactory) -> c.CDLL:
    if core.compiler() is None:
        pytest.skip("no C compiler")
    return plan.built(tmp_path_factory.mktemp("text"))


def canonical(lib: c.CDLL, kind: ValueType, text: str, size: int = device.TEXT_MAX) -> str | int:
    """The text, or the errno."""
    out = c.create_string_buffer(size)
    code = lib.text_canonical(device.TYPES[kind], text.encode(), out, c.c_size_t(size))
    return -code if code else out.value.decode()


_WORDS = """
0 1 08 -1 +7 -0 00 123456789012345678901 18446744073709551615 [a] a [ ] [] [a [a][b] x[a]y none
mq-deadline [mq-deadline] Y n true OFF ff FF,00000003 00000000,00000001 1, ,1 123456789 0x1
123456789abcdef0 00ff 0,0 ffffffff,ffffffff 100000000,1
"""
WORDS = st.sampled_from(_WORDS.split())
TEXTS = st.one_of(
    st.lists(WORDS, max_size=5).flatmap(
        lambda words: st.sampled_from((" ", "\t", "\n", "  ")).map(lambda blank: blank.join(words))
    ),
    st.text(alphabet="0123456789abcdefABCDEF,+-[] \t\nxyYN", max_size=40),
)


@settings(max_examples=examples(1000))
@given(kind=st.sampled_from(list(ValueType)), text=TEXTS)
@example(kind=ValueType.BITMAP, text="f,00000000\n")
@example(kind=ValueType.STRING, text=" \n")
def test_the_kernel_reads_a_value_as_the_guardian_does(
    lib: c.CDLL, kind: ValueType, text: str
) -> None:
    found = canonical(lib, kind, text)
    try:
        value = parse(kind, text)
    except ValueFormatError:
        assert found == errno.EINVAL
        return
    words = text.strip().split(",")
    if kind is ValueType.BITMAP and len(words) > 1 and any(len(word) > 8 for word in words):
        assert found == errno.EINVAL  # no kernel prints words of more than 32 bits
        return
    assert found == format_value(kind, value)


def test_a_value_that_does_not_fit_is_told(lib: c.CDLL) -> None:
    assert canonical(lib, ValueType.WORD, "a" * 7, size=8) == "a" * 7
    for kind in (ValueType.WORD, ValueType.STRING, ValueType.CHOICE):
        assert canonical(lib, kind, "a" * 8, size=8) == errno.EMSGSIZE
    assert canonical(lib, ValueType.VECTOR, "1234 678", size=8) == errno.EMSGSIZE
    assert canonical(lib, ValueType.BITMAP, "1" * 16, size=17) == errno.EMSGSIZE
    assert canonical(lib, ValueType.BITMAP, "1" * 16, size=18) == "11111111,11111111"


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("vm.swappiness", "vm.swappiness", True),
        ("vm.swappiness", "vm.swappines", False),
        ("vm.swappiness", "vm.swappiness2", False),
        ("vm.swappiness", "", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/vda/queue/scheduler", True),
        ("/sys/block/*/queue/scheduler", "/sys/block/dm-0/queue/scheduler", True),
        ("/sys/class/bdi/*/min_ratio", "/sys/class/bdi/254:0/min_ratio", True),
        ("/sys/block/*/queue/scheduler", "/sys/block/./queue/scheduler", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/../queue/scheduler", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/.../queue/scheduler", True),
        ("/sys/block/*/queue/scheduler", "/sys/block//queue/scheduler", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/a/b/queue/scheduler", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/a\n/queue/scheduler", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/\u00e4/queue/scheduler", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/*/queue/scheduler", False),
        ("/sys/block/*/queue/scheduler", "/sys/block/vda", False),
    ],
)
def test_a_pattern_stands_for_one_plain_component(
    lib: c.CDLL, pattern: str, name: str, matches: bool
) -> None:
    assert bool(lib.text_matches(pattern.encode(), name.encode())) is matches


def test_a_word_is_listed_as_a_whole(lib: c.CDLL) -> None:
    listed = [
        word for word in ("a", "bc", "b", "", "a bc") if lib.text_listed(b"a bc", word.encode())
    ]
    assert listed == ["a", "bc"]


def test_requests_and_layouts_are_the_headers(lib: c.CDLL) -> None:
    ours = [
        device.IOC_INFO, device.IOC_ADD, device.IOC_COUPLE, device.IOC_BEGIN, device.IOC_RENEW,
        device.IOC_APPLY, device.IOC_STAGE, device.IOC_SWITCH, device.IOC_KEEP, device.IOC_KNOB,
        device.IOC_COMMIT, device.IOC_RELEASE, device.IOC_RESULT,
    ]  # fmt: skip
    assert list((c.c_ulong * len(ours)).in_dll(lib, "requests")) == ours  # with the sizes in them
    assert c.c_size_t.in_dll(lib, "item_size").value == device._ITEM.size
    assert list((c.c_uint * 7).in_dll(lib, "limits")) == [
        device.ABI, device.NAME_MAX, device.TEXT_MAX, device.KNOBS_MAX, device.COUPLES_MAX,
        device.ELEMENTS_MAX, device.SPECIALS_MAX,
    ]  # fmt: skip
    numbers, text, long = 4, device.TEXT_MAX, 8
    head = device.NAME_MAX + 4 * numbers
    limits = 2 * 8 * long + long + 8 * long
    assert list((c.c_size_t * 9).in_dll(lib, "offsets")) == [
        2 * numbers + 8 * long,
        head,
        head + limits,
        head + limits + text,
        head + limits + text + 2 * numbers,
        4 * numbers,
        4 * numbers + device.NAME_MAX + 3 * text,
        long + 10 * numbers,
        long + 10 * numbers + 2 * long,
    ]
