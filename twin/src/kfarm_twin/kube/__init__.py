"""The kube driver: decides as kube-scheduler's default profile does.

`describe` reads objects, `compile` makes columns of them, `driver` places pods by the rules in
`kfarm_twin.policy.kube_filter` and `kfarm_twin.policy.kube_score`; `preemption` names victims,
`reasons` words, `profile` reads configurations.
"""
