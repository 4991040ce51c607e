"""Public traces as columns: one reader per format."""
