"""Measurements: `make bench`. Ratios in one run; the machine's mood cancels out, absolute numbers do not travel."""
