"""What load generators print: fields, units, loops, errors (standard library only)."""
