"""Measurements, side by side with a straightforward baseline in the same run: ``make benchmark``.

``table`` holds and prints results, ``baseline`` is the obvious implementation, ``archives`` makes what is
measured on, ``workloads`` measures, ``range_run`` is one Dagster run and ``sensing`` one
tick of the sensor, each in a process of its own; ``growth`` is cost against the size of the archive.
"""
