"""An f2fs of the run's own: made, mounted where only a process of ours sees it, gone with that."""
