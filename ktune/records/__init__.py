"""Studies and histories on disk: what was planned, measured and proven."""
