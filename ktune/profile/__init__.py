"""YAML profiles: loading with positions, model, inheritance, resolution to a plan."""
