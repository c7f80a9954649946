"""From an image to labels: models, windows, the cascade, the decision."""
