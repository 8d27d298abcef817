"""How what a detector has learned lies in a model file: `state`, with the parts `scores` and `kept`."""
