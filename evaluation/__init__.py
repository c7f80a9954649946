"""Overlap, surface, lesions, cases, aggregate."""
