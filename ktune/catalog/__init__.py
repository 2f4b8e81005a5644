"""Curated knowledge of kernel knobs: YAML data and its loader."""
