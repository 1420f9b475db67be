"""The flow detector: features of a bin -> how far they lie from the instrument's own baseline -> how rare that is.

Here: baselines, natural variability, tail probabilities, neighbouring bins, calibration, training, the model and its
file. Not here: what a bin is called and why in words (``verdict``).
"""
