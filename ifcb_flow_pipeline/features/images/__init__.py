"""Pixels to numbers: the features of IFCB images, and the bytes that they are computed of."""
