"""Functions on arrays, compiled where numba is there; no other imports, no exceptions."""
