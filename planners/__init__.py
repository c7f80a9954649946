"""Fingerprint, spacing, ROI, memory, planner."""
