"""Options of a command line as getopt_long(3) takes them, without running the tool. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def value_of(argv: Sequence[str], *names: str) -> str | None:
    """The last value of an option: `--rate=5`, `--rate 5`, `-R 5`, `-R5`; None where absent."""
    found: str | None = None
    for index, word in enumerate(argv[1:], 1):
        if word == "--":
            break
        for name in names:
            if word == name:
                found = argv[index + 1] if index + 1 < len(argv) else ""
            elif name.startswith("--"):
                found = word[len(name) + 1 :] if word.startswith(f"{name}=") else found
            elif word.startswith(name) and not word.startswith("--"):
                found = word[len(name) :]
    return found


def has(argv: Sequence[str], *names: str, bundled: str = "") -> bool:
    """Whether a flag is there, `--log` or `-l`; with `bundled`, the tool's one-letter flags without
    a value, also among others (`-nl`)."""
    for word in argv[1:]:
        if word == "--":
            return False
        if word.partition("=")[0] in names:
            return True
        letters = word[1:] if word.startswith("-") and not word.startswith("--") else ""
        for letter in letters:
            if f"-{letter}" in names:
                return True
            if letter not in bundled:  # what follows is its value
                break
    return False


def number_of(argv: Sequence[str], *names: str) -> float | None:
    """The value of an option as a number; None where it is absent or none."""
    text = value_of(argv, *names)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def per_second(rate: float) -> str:
    """A rate for people."""
    return f"{rate:g}/s"
