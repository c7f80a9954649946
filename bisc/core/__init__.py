"""Small frozen types and helpers that everything else stands on; neither torch nor SimpleITK."""
