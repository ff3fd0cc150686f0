"""Benchmarks: each makes its own inputs, compares within one run, and prints its ratios."""
