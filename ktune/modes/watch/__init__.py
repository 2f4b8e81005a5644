"""Recommendation mode: looks after a policy in force and takes it back when it does harm."""
