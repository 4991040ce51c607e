"""Parameters of the failure model from an event log of a fleet."""
