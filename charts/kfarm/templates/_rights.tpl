{{- /*
What each account may do, one ClusterRole per concern. A test runs the operator under these accounts
and compares this list with the API server's audit log: each verb here is used, and nothing else.
What RBAC cannot say (which nodes, which fields) the policies say.
*/}}
{{- define "kfarm.rights" -}}
# plans and what they name: read, decided, and the verdict written
kfarm-gate-plans:
  accounts: [kfarm-gate]
  rules:
    - apiGroups: [kfarm.dev]
      resources: [acceleratorprofiles, gpufarms, npufarms]
      verbs: [list, watch]
    - apiGroups: [kfarm.dev]
      resources: [placementplans, validationpolicies]
      verbs: [get, list, watch]
    - apiGroups: [kfarm.dev]
      resources: [placementplans/status, validationpolicies/status]
      verbs: [patch]
# claims on nodes, by compare-and-swap; a ledger is never deleted
kfarm-gate-ledgers:
  accounts: [kfarm-gate]
  rules:
    - apiGroups: [kfarm.dev]
      resources: [nodeledgers]
      verbs: [get, list, watch, create, patch]
# the release, fenced by kfarm-gate-release; never delete but evict, fenced by kfarm-gate-evictions
kfarm-gate-pods:
  accounts: [kfarm-gate]
  rules:
    - apiGroups: [""]
      resources: [pods]
      verbs: [get, list, watch, patch]
    - apiGroups: [""]
      resources: [pods/eviction]
      verbs: [create]
    - apiGroups: [""]
      resources: [nodes]
      verbs: [list, watch]
# to say Degraded, and to release nothing, when a policy of the gate is missing or altered
kfarm-gate-policies:
  accounts: [kfarm-gate]
  rules:
    - apiGroups: [admissionregistration.k8s.io]
      resources:
        - mutatingadmissionpolicies
        - mutatingadmissionpolicybindings
        - validatingadmissionpolicies
        - validatingadmissionpolicybindings
      verbs: [list]
# what Kueue admitted and where, what its flavors add to pods; nothing where Kueue is not there.
# Written: our entry of admissionChecks and the condition Active, by server-side apply of just these
kfarm-gate-kueue:
  accounts: [kfarm-gate]
  rules:
    - apiGroups: [kueue.x-k8s.io]
      resources: [workloads, admissionchecks]
      verbs: [get, list, watch]
    - apiGroups: [kueue.x-k8s.io]
      resources: [resourceflavors]
      verbs: [list, watch]
    - apiGroups: [kueue.x-k8s.io]
      resources: [workloads/status, admissionchecks/status]
      verbs: [patch]
# farms and profiles; of a farm's own fields finalizers only, fenced by kfarm-farm-objects
kfarm-farm-farms:
  accounts: [kfarm-farm]
  rules:
    - apiGroups: [kfarm.dev]
      resources: [acceleratorprofiles]
      verbs: [get, list, watch]
    - apiGroups: [kfarm.dev]
      resources: [gpufarms, npufarms]
      verbs: [get, list, watch, patch]
    - apiGroups: [kfarm.dev]
      resources: [acceleratorprofiles/status, gpufarms/status, npufarms/status]
      verbs: [patch]
# simulated nodes and their capacity, labels and taint of real ones; fenced by kfarm-farm-nodes
kfarm-farm-nodes:
  accounts: [kfarm-farm]
  rules:
    - apiGroups: [""]
      resources: [nodes]
      verbs: [get, list, watch, create, patch, delete]
    - apiGroups: [""]
      resources: [nodes/status]
      verbs: [patch]
# devices that kcloud-operator calls bad, where it is installed; they count as lost
kfarm-farm-health:
  accounts: [kfarm-farm]
  rules:
    - apiGroups: [npu.ai]
      resources: [acceleratorhealths, nodedevicereports]
      verbs: [list]
# queues of farms, by server-side apply; fenced by kfarm-farm-queues
kfarm-farm-queues:
  accounts: [kfarm-farm]
  rules:
    - apiGroups: [kueue.x-k8s.io]
      resources: [topologies, resourceflavors, cohorts, clusterqueues]
      verbs: [get, list, create, patch, delete]
kfarm-whatif-runs:
  accounts: [kfarm-whatif]
  rules:
    - apiGroups: [kfarm.dev]
      resources: [acceleratorprofiles, gpufarms, npufarms]
      verbs: [list, watch]
    - apiGroups: [kfarm.dev]
      resources: [twinruns]
      verbs: [get, list, watch]
    - apiGroups: [kfarm.dev]
      resources: [twinruns/status]
      verbs: [patch]
# traces by name, from the TwinRun's own namespace; results, fenced by kfarm-whatif-artifacts: made
# and deleted, never listed or changed
kfarm-whatif-results:
  accounts: [kfarm-whatif]
  rules:
    - apiGroups: [""]
      resources: [configmaps]
      verbs: [get, create, delete]
# what happened, told once; never read, never changed
kfarm-events:
  accounts: [kfarm-gate, kfarm-farm, kfarm-whatif{{ if .Values.drills.enabled }}, kfarm-drill, kfarm-sweeper{{ end }}]
  rules:
    - apiGroups: [""]
      resources: [events]
      verbs: [create]
{{- if .Values.drills.enabled }}
# drills, the runs that a schedule makes, and what they name; fenced by kfarm-drill-objects
kfarm-drill-drills:
  accounts: [kfarm-drill]
  rules:
    - apiGroups: [kfarm.dev]
      resources: [failuredrills]
      verbs: [get, list, watch, create, patch, delete]
    - apiGroups: [kfarm.dev]
      resources: [failuredrills/status]
      verbs: [patch]
    - apiGroups: [kfarm.dev]
      resources: [acceleratorprofiles, gpufarms, npufarms, placementplans]
      verbs: [list, watch]
    - apiGroups: [""]
      resources: [namespaces]
      verbs: [get]
    - apiGroups: [batch]
      resources: [jobs]
      verbs: [get]
    - apiGroups: [kueue.x-k8s.io]
      resources: [workloads]
      verbs: [list, watch]
# nodes that people labelled for it; fenced by kfarm-drill-nodes
kfarm-drill-nodes:
  accounts: [kfarm-drill]
  rules:
    - apiGroups: [""]
      resources: [nodes]
      verbs: [get, list, watch, patch]
    - apiGroups: [""]
      resources: [nodes/status]
      verbs: [patch]
# never delete but evict; fenced by kfarm-drill-evictions
kfarm-drill-pods:
  accounts: [kfarm-drill]
  rules:
    - apiGroups: [""]
      resources: [pods]
      verbs: [list, watch]
    - apiGroups: [""]
      resources: [pods/eviction]
      verbs: [create]
# Leases of nodes; fenced by kfarm-drill-leases
kfarm-drill-leases:
  accounts: [kfarm-drill]
  namespace: kube-node-lease
  rules:
    - apiGroups: [coordination.k8s.io]
      resources: [leases]
      verbs: [get, patch]
# one drill at a time on a cluster; fenced by kfarm-drill-leases
kfarm-drill-locks:
  accounts: [kfarm-drill]
  namespace: {{ .Release.Namespace }}
  rules:
    - apiGroups: [coordination.k8s.io]
      resources: [leases]
      verbs: [get, create, patch, delete]
# the switch that ends all drills
kfarm-drill-switch:
  accounts: [kfarm-drill]
  namespace: {{ .Release.Namespace }}
  rules:
    - apiGroups: [""]
      resources: [configmaps]
      resourceNames: [kfarm-drills-off]
      verbs: [get]
# takes back what is overdue; fenced by kfarm-drill-sweeper
kfarm-sweeper-nodes:
  accounts: [kfarm-sweeper]
  rules:
    - apiGroups: [""]
      resources: [nodes]
      verbs: [get, list, patch]
    - apiGroups: [""]
      resources: [nodes/status]
      verbs: [patch]
kfarm-sweeper-leases:
  accounts: [kfarm-sweeper]
  namespace: kube-node-lease
  rules:
    - apiGroups: [coordination.k8s.io]
      resources: [leases]
      verbs: [get, list, patch]
kfarm-sweeper-locks:
  accounts: [kfarm-sweeper]
  namespace: {{ .Release.Namespace }}
  rules:
    - apiGroups: [coordination.k8s.io]
      resources: [leases]
      verbs: [list, delete]
{{- end }}
{{- end }}
