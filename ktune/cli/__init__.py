"""Commands: parse, print, exit codes; no logic."""
