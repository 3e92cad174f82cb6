"""``python -m benchmarks``: the library against the formulas written out (tests/plain.py), on your own machine."""
