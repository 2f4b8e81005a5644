"""The frozen artefact: freeze, apply, verify, roll back."""
