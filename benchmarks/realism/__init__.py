"""Simulated slices beside real KiTS19 slices: measurements, a classifier that tries to tell them apart, pictures."""
