"""Servers that a run starts and stops: found, filled, kept, supervised, always ended."""
