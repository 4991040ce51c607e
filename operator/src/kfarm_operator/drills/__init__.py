"""Failure drills: what is injected is written down before, taken back exactly, and measured."""
