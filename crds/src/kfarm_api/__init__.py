"""Models of the kfarm API, their units, and the CRD generator."""
