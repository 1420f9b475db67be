"""The HTTP interface: what is stored, for other programs, read-only.

Belongs here: routes, formats, who may ask. Does not belong here: how instruments are doing (``review.instruments``),
how tables are read (``store``). Nothing but the command line imports it.
"""
