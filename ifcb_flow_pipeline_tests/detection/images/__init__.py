"""Judging images."""
