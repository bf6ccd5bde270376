"""The parts of scripts/benchmark.py; docs/speed.md says what is measured and how."""
