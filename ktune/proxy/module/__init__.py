"""The kernel module as a second actuator: /dev/ktune. Standard library only."""
