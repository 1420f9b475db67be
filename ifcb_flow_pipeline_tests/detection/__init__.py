"""Tests of forests, models and their cards."""
