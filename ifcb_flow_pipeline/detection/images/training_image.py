"""What image models are trained on."""

from dataclasses import dataclass

from ifcb_flow_pipeline.bins.roi import Image


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """A clean image: its name, its pixels, where it is from, and its class, empty where nobody has named it."""

    name: str
    image: Image
    pid: str
    instrument: str
    class_name: str = ""
