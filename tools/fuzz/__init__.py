"""Bad input of every kind, drawn from a seed, against every public entry; see ``run.py``."""
