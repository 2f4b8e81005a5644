"""A module imports only from its own package and from those below it (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]


def documented_layers() -> list[str]:
    """Package names as the first block of docs/architecture.md lists them, highest first."""
    block = (HOME / "docs" / "architecture.md").read_text().split("```")[1]
    names = [line.split()[0] for line in block.splitlines() if line[:1].isalpha()]
    return [name.rstrip("/").removesuffix(".py") for name in names]


def imports_of(file: Path) -> Iterator[str]:
    """The ktune packages that a file imports from, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == "ktune" and rest != "__version__":
                yield rest.partition(".")[0]


def test_every_package_has_its_layer() -> None:
    packages = {path.parent.name for path in (HOME / "ktune").glob("*/__init__.py")}
    assert packages | {"errors"} == set(documented_layers())


def test_modules_import_only_from_below() -> None:
    layers = documented_layers()
    upward = [
        f"{file.relative_to(HOME)} imports {name}"
        for layer in layers
        for file in sorted((HOME / "ktune" / layer).glob("**/*.py"))
        for name in imports_of(file)
        if layers.index(name) < layers.index(layer)
    ]
    assert not upward
