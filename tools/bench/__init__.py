"""Benchmarks: how quick it is, and that it stays so."""
