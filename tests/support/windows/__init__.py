"""A Linux process that sees of its system what Windows has: `sitecustomize` here, first on PYTHONPATH, makes it so."""
