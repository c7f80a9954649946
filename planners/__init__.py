"""From what was measured to a plan: fingerprint, spacing, ROI sides, memory, splits."""
