"""The Dagster side, thin: partitions, resources, assets, checks, jobs, sensors, schedules.

Belongs here: when something runs, on what, and what a person sees of it in the UI.
Does not belong here: arithmetic or files; a step's work is in ``days``.
"""
