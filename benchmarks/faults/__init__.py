"""What a deployment survives: ``python -m benchmarks.faults`` prints tried, survived and lost for each kind of fault.

``site``: an archive in a temporary folder, with the steps of a day and the look that the sensor takes.
``archive``: what becomes of raw files. ``tables``: damages to what is stored, and full disks.
``writers``: kills of processes that write, and two at once. ``kills``: kills of a real deployment.
"""
