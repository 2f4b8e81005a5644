"""Every value type: what the kernel prints is read, what is written is what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.kernel.values import ValueFormatError, ValueType, choices_of, format_value, parse

INTEGERS = st.integers(min_value=-(2**63), max_value=2**64 - 1)
WORDS = st.from_regex(r"[a-z][a-z0-9_+-]{0,15}", fullmatch=True)
BLANKS = st.sampled_from([" ", "\t", "  ", " \t "])
NOT_NUMBERS = ["", "080", "00", "-012", "1 2", "0x10", "1.5", "1e3", "max", "--1", "1_000", "٣"]


@given(INTEGERS)
def test_an_integer_survives_the_way_to_the_kernel_and_back(number: int) -> None:
    assert parse(ValueType.INT, format_value(ValueType.INT, number) + "\n") == number


@given(st.lists(INTEGERS, min_size=1, max_size=8).map(tuple))
def test_a_vector_survives_the_way_to_the_kernel_and_back(vector: tuple[int, ...]) -> None:
    assert parse(ValueType.VECTOR, format_value(ValueType.VECTOR, vector) + "\n") == vector


@given(st.lists(INTEGERS, min_size=1, max_size=4), BLANKS)
def test_a_vector_is_read_whatever_blanks_the_kernel_prints(items: list[int], blank: str) -> None:
    assert parse(ValueType.VECTOR, blank.join(map(str, items)) + "\n") == tuple(items)


@given(WORDS, st.lists(WORDS, max_size=5), st.integers(0, 5))
def test_the_word_in_brackets_is_the_choice_in_force(word: str, others: list[str], at: int) -> None:
    words = [*others[:at], f"[{word}]", *others[at:]]
    assert parse(ValueType.CHOICE, " ".join(words) + "\n") == word
    assert format_value(ValueType.CHOICE, word) == word
    assert choices_of(" ".join(words)) == (*others[:at], word, *others[at:])


@given(WORDS)
def test_a_word_survives_the_way_to_the_kernel_and_back(word: str) -> None:
    assert parse(ValueType.WORD, format_value(ValueType.WORD, word) + "\n") == word


@given(st.integers(min_value=0, max_value=2**200))
def test_a_bitmap_survives_the_way_to_the_kernel_and_back(number: int) -> None:
    digits = f"{number:x}"
    padded = digits.zfill(-(-len(digits) // 8) * 8)
    text = ",".join(padded[i : i + 8] for i in range(0, len(padded), 8))
    canonical = parse(ValueType.BITMAP, text + "\n")
    assert isinstance(canonical, str)
    assert int(canonical.replace(",", ""), 16) == number
    assert parse(ValueType.BITMAP, format_value(ValueType.BITMAP, canonical)) == canonical


@pytest.mark.parametrize("text", ["Y", "y", "1", "on", "true", "N", "n", "0", "off", "no"])
def test_a_switch_has_one_canonical_form(text: str) -> None:
    assert parse(ValueType.SWITCH, text) == ("Y" if text in ("Y", "y", "1", "on", "true") else "N")


@given(st.text(st.characters(blacklist_characters="\n\0", blacklist_categories=("Cs",))))
def test_a_string_is_compared_with_its_blanks_folded(text: str) -> None:
    canonical = parse(ValueType.STRING, text)
    assert parse(ValueType.STRING, format_value(ValueType.STRING, canonical)) == canonical


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_decimal_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueFormatError):
        parse(ValueType.INT, text)


def test_a_leading_zero_is_refused_as_the_octal_trap() -> None:
    with pytest.raises(ValueFormatError, match="octal"):
        parse(ValueType.INT, "080")
    with pytest.raises(ValueFormatError, match="octal"):
        parse(ValueType.VECTOR, "4096 087380 6291456")


@given(INTEGERS)
def test_no_formatted_integer_has_a_leading_zero(number: int) -> None:
    digits = format_value(ValueType.INT, number).lstrip("-")
    assert digits == "0" or not digits.startswith("0")


@pytest.mark.parametrize("kind", list(ValueType))
@pytest.mark.parametrize("value", ["two\nlines", "nul\0byte"])
def test_no_value_smuggles_in_a_second_line(kind: ValueType, value: str) -> None:
    with pytest.raises(ValueFormatError):
        format_value(kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ValueType.INT, "5"),
        (ValueType.INT, (1, 2)),
        (ValueType.VECTOR, 5),
        (ValueType.VECTOR, ()),
        (ValueType.CHOICE, 5),
        (ValueType.CHOICE, "two words"),
        (ValueType.WORD, ""),
        (ValueType.SWITCH, "maybe"),
        (ValueType.BITMAP, "xyz"),
    ],
)
def test_a_value_of_another_type_is_never_formatted(kind: ValueType, value: object) -> None:
    with pytest.raises(ValueFormatError):
        format_value(kind, value)  # type: ignore[arg-type]


@given(st.sampled_from(list(ValueType)), st.text())
def test_any_text_is_read_or_refused_but_never_crashes(kind: ValueType, text: str) -> None:
    try:
        value = parse(kind, text)
    except ValueFormatError:
        return
    assert isinstance(value, int | str | tuple)
