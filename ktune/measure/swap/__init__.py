"""Little memory and a swap file of the run's own: made, kept, always undone."""
