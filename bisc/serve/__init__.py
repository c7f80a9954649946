"""A DICOM node: studies in, results out, with a queue on disk in between that a power cut does not harm."""
