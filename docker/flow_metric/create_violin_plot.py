"""``python create_violin_plot.py ONE.csv OTHER.csv ...``, as images of ifcb-flow-metric are called."""

import sys

from ifcb_flow_pipeline.cli import main

main(["compare", *sys.argv[1:]], prog_name="create_violin_plot.py")
