"""What-ifs become results: one process per replica, one ConfigMap per result."""
