"""Kueue's kinds as the API server serves them."""

from __future__ import annotations

from kfarm_operator.client import Resource

KUEUE_GROUP = "kueue.x-k8s.io"
KUEUE_VERSION = "v1beta2"
WORKLOADS = Resource(KUEUE_GROUP, KUEUE_VERSION, "workloads")
ADMISSION_CHECKS = Resource(KUEUE_GROUP, KUEUE_VERSION, "admissionchecks")
RESOURCE_FLAVORS = Resource(KUEUE_GROUP, KUEUE_VERSION, "resourceflavors")
PAGE_OF_WORKLOADS = 20
"""Workloads may have 1.5 MB each, and a page is read whole."""
