"""Crop, resample, normalise, edges, cache."""
