"""Splits, sampler, augmentation, loop, rough, fine."""
