"""Labels and annotations by which drills are allowed, and by which what they touch is known.

Each object that a drill touches carries three annotations from the first change to the last, so
that whoever finds it can take everything back although the drill itself may be gone.
"""

from __future__ import annotations

LABEL_CONSENT = "kfarm.dev/drill"
CONSENT = "allowed"
"""On nodes and namespaces that drills may touch; given and taken by people."""
PREFIX = "drill.kfarm.dev/"
ANNOTATION_UNTIL = PREFIX + "until"
"""Moment (UTC, ``2026-01-31T12:00:00Z``) from which everybody may take the drill's changes back."""
ANNOTATION_DRILL = PREFIX + "drill"
"""``NAMESPACE/NAME/UID`` of the drill."""
ANNOTATION_UNDO = PREFIX + "undo"
"""JSON list of changes: field, before, after, as in the drill's journal."""
ANNOTATION_RUNNER = PREFIX + "runner."
"""With a fault's name added, on the drill: ``BEGIN/END`` of what the runner did outside."""
ANNOTATION_COMING = PREFIX + "plans"
"""On the drill: JSON list of the PlacementPlans that the runner applies once it has begun."""
TAINT_DRILL = PREFIX + "fault"
"""Key of the taint (NoSchedule) of a node whose fault keeps pods away; its value is the action."""
TAINT_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
LEASE_HOLDER = "kfarm-drill"
"""Holder of a KWOK node's Lease while the node plays dead; followed by ``/UID`` of the drill."""
FINALIZER = "kfarm.dev/drill-restores"
KILL_SWITCH = "kfarm-drills-off"
"""ConfigMap of the operator's namespace; while it exists no drill begins and all are aborted."""
