"""Trying models: comparison of two, injected faults, partial bins, drift of severities, and rival detectors."""
