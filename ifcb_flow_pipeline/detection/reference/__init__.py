"""The forest of ifcb-flow-metric: model, compiled kernel, attributions, and the conversion of old models."""
