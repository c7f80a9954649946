"""Voxels made ready: kidneys and their ROIs, resampling, intensities, edges, caches."""
