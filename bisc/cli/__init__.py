"""The commands: parse, call the pipeline, exit status."""
