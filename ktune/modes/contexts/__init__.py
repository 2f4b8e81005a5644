"""Policies that adapt: which context is it, and what is best there."""
