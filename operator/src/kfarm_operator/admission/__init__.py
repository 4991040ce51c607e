"""Kueue asks, the twin answers: AdmissionChecks, Workloads, and their gated pods."""
