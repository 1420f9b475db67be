"""From features to scores and verdicts: forests, models with their cards, and what a score means.

Belongs here: arithmetic over feature tables, and models as values and as bytes.
Does not belong here: files, clocks, the environment, Dagster.
"""
