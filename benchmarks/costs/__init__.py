"""What ktune costs: one module per question, each with `measure(...)` and `show(...)`."""
