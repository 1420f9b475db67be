"""Numbers that must not change."""
