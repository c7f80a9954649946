"""Training of one stage: presets, batches, optimisers, the loop."""
