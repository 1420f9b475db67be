"""Tests of the simulated archive."""
