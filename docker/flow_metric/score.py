"""``python score.py DATA_DIR ...``, as images of ifcb-flow-metric are called: scores bins with a model of any kind."""

import sys

from ifcb_flow_pipeline.cli import main

main(["score", *sys.argv[1:]], prog_name="score.py")
