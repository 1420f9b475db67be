"""The commands of ``ifcb-flow``, a file a subject; ``cli.py`` joins them."""
