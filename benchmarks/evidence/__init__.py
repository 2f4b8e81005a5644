"""What must be shown of ktune's decisions: error rates, power, comparison, real A/A tunings.

`__main__` runs the experiments that simulated sessions answer (`results.Experiment`: cases, one
session, tables); `real_aa` runs whole commands; `record` keeps the noise of real workloads.
Experiments about a policy in force implement the same protocol and join the list in `__main__`.
"""
