"""Measurements: what they time is verified first, and ratios come from one run."""
