"""Workload runner, metrics, windows and the emulated long link."""
