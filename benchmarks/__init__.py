"""Measurements, side by side with a straightforward baseline in the same run: ``make benchmark``."""
