"""A believable simulated archive with planted, labelled faults.

For the demo, the tests and the benchmarks. Everything is decided by a plan and a seed: the same plan
gives the same bytes, and any one bin can be drawn on its own.

============  ==================================================================
``core``      the healthy stream in numbers: boxes, signals, the box lattice
``bins``      one bin in memory and the healthy generator
``recipes``   how each fault changes a run
``optics``    how each fault changes the light, the focus, the window and the camera
``particles`` what particles look like
``images``    a bin's images; ``exposure`` is the compiled part
``damage``    how each fault changes files
``faults``    the one table of faults, and how to plant them
``files``     a bin as the bytes of its ``.adc``, ``.hdr`` and ``.roi``
``plan``      what an archive contains; the demo's plan
``archive``   drawing and writing
============  ==================================================================

No clock, no environment, no Dagster, and nothing of the pipeline but ``bins.pid``: what checks the
pipeline must not share its code.
"""

from ifcb_flow_pipeline.simulate.archive import (
    ArchivePlan,
    Episode,
    PlantedFault,
    demo_plan,
    regenerate_bin,
    simulate_bin,
    write_archive,
    write_bin,
    write_labels,
)
from ifcb_flow_pipeline.simulate.bins import InstrumentProfile, SimulatedBin
from ifcb_flow_pipeline.simulate.faults import FAULTS, Fault, files_of

__all__ = [
    "FAULTS",
    "ArchivePlan",
    "Episode",
    "Fault",
    "InstrumentProfile",
    "PlantedFault",
    "SimulatedBin",
    "demo_plan",
    "files_of",
    "regenerate_bin",
    "simulate_bin",
    "write_archive",
    "write_bin",
    "write_labels",
]
