"""``python train.py DATA_DIR ...``, as images of ifcb-flow-metric are called: trains its forest, with its options."""

import sys

from ifcb_flow_pipeline.cli import main

main(["train", "--detector", "forest", *sys.argv[1:]], prog_name="train.py")
