"""Point clouds to numbers."""
