"""Names and bytes to values."""
