"""How good a segmentation is: overlap, surfaces, volumes and tumours found, per case and over cases."""
