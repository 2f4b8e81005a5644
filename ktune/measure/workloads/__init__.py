"""Bundled load generators: standard library only, `main(args)`, results as `key=value` lines."""
