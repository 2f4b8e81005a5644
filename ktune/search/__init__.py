"""Optuna lives here and nowhere else: space, samplers, ask and tell."""
