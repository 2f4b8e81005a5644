"""Guardrails: limits that end a window, or undo a policy, whatever the objective says.

One source per module behind `Guardrail`, composed by `Guardrails`; `from_profile` builds them.
"""
