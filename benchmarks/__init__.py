"""Benchmarks: where the README's figures come from. Run as `python -m benchmarks.<name>` from a clone."""
