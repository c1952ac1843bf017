"""Random lives of a spool against a small model of it, with a clock that is moved by hand; see ``run.py``."""
