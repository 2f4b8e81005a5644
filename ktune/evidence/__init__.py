"""Statistics over paired windows: pure functions, no input or output."""
