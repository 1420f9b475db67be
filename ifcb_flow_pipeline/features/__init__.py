"""From a point cloud to numbers: the features, each declared once in the catalogue.

Belongs here: arithmetic over arrays. Does not belong here: files, clocks, models, Dagster.
"""
