"""The only way to the kernel: lease, journal, guardian, restore. Standard library only."""
