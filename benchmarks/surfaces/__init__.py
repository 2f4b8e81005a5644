"""Real workloads measured all over their search space, and simulators that replay them."""
