"""What happened around a window, and whether the window may count. Reads only."""
