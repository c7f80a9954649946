"""One patient's page, whole in one file and offline, and the index of a run."""
