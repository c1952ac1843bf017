"""How fast it is, against the official client and against the machine; started by ``run.py``."""
