"""What a label map says in numbers: areas of surfaces and contacts."""
