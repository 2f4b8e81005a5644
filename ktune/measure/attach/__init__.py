"""Measures a service that runs already: its files under /proc, cgroup, metric pages, logs."""
