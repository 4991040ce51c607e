"""Farms become queues of Kueue: topology, flavors, cohorts, cluster queues."""
