"""Everything on disk: the archive that is read, the tables and models that are written, and where they are.

Belongs here: paths, settings, walking the archive, table declarations, atomic writes, read queries.
Does not belong here: what the numbers mean (``features``, ``detection``), Dagster, Streamlit.
"""
