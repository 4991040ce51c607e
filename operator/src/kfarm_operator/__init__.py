"""The kfarm operator: pods are released only where the twin approved their placement."""
