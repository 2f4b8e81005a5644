"""The BPF guard of sysctl writes: its rules, its events, where it is attached. Standard library
only."""
