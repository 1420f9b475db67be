"""What an IFCB bin is: its identifier, its ADC, HDR and ROI files, and how an archive lays them out.

Belongs here: everything that turns bytes or names into values.
Does not belong here: opening files (``store``), features (``features``), any clock or environment.
"""
