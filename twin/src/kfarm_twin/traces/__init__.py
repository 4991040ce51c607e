"""Traces of jobs: readers of the common forms, a form of our own, generators."""

from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.read import read, read_trace

__all__ = ["Reading", "TraceFormat", "read", "read_trace"]
