"""Features of images to verdicts: named faults, oddness, the window, the bin."""
