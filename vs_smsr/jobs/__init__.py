"""Whole jobs, below all doors: one file or one sequence of arrays in, the same larger out, and what became of it."""
