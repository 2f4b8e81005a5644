"""Values and their formats, tunables, scopes and host facts. Standard library only."""
