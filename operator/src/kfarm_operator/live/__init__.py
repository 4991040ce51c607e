"""The live twin: what monitoring says of a farm, and how far off the twin was."""
