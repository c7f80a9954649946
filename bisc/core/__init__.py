"""Types alone: geometry, box, volume, labels, choices, errors; no files, no processes."""
