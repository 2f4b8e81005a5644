"""ktune: better Linux kernel settings for a workload, proven and kept safe."""

__version__ = "0.1.0"
