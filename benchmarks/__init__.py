"""Measurements behind decisions; each is one command."""
