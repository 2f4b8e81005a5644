"""Curated knowledge of kernel knobs: YAML data, its loader and model."""

from ktune.catalog.catalog import Catalog, load_catalog
from ktune.catalog.loader import CatalogError
from ktune.catalog.model import Coupling, CouplingKind, Kind, KnobEntry, Match, Risk, TakesEffect

__all__ = [
    "Catalog",
    "CatalogError",
    "Coupling",
    "CouplingKind",
    "Kind",
    "KnobEntry",
    "Match",
    "Risk",
    "TakesEffect",
    "load_catalog",
]
