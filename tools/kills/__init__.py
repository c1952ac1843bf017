"""Processes that die at a chosen step, and what is found afterwards; see ``run.py``."""
