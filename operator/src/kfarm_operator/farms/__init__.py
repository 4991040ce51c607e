"""Farms become Nodes: simulated ones are made, real ones are labelled."""
