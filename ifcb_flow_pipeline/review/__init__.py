"""People's part of the work, as values: which bin is decided next, how well judgements agree, what is handed on.

Belongs here: order, sampling, statistics and text of files to hand on. Does not belong here: disks (``store``), and
anything that draws in a browser (``app``).
"""
