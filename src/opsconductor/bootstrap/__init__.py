"""The only place where things are wired together. Nothing imports this but the console script and `python -m`."""
