{{/* Labels of every object. */}}
{{- define "kfarm.labels" -}}
app.kubernetes.io/name: kfarm
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Labels by which pods are selected; of one role where `role` is given. */}}
{{- define "kfarm.selector" -}}
app.kubernetes.io/name: kfarm
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of what a Prometheus operator or Grafana looks for; the site's own are added. */}}
{{- define "kfarm.monitoringLabels" -}}
{{ include "kfarm.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Roles of the operator that run as Deployments of their own, as JSON. */}}
{{- define "kfarm.roles" -}}
{{ concat (list "gate" "farm" "whatif") (ternary (list "drill") (list) .Values.drills.enabled) | toJson }}
{{- end }}

{{/* Which image, whose secrets, and on which nodes. */}}
{{- define "kfarm.image" -}}
{{- with .Values.operator.image }}
{{- if .digest }}
image: {{ printf "%s@%s" .repository .digest | quote }}
{{- else }}
image: {{ printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) | quote }}
{{- end }}
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
{{- end }}
{{- define "kfarm.placement" -}}
{{- with .Values.operator.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.operator.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What no pod or container of ours may do. */}}
{{- define "kfarm.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
hostUsers: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "kfarm.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities: {drop: ["ALL"]}
{{- end }}

{{/* The account's token, where a pod finds it, for an hour. */}}
{{- define "kfarm.tokenVolume" -}}
- name: token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}
{{- define "kfarm.tokenMount" -}}
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{/* User names of the accounts, as the API server sees them. */}}
{{- define "kfarm.gateAccount" -}}
system:serviceaccount:{{ .Release.Namespace }}:kfarm-gate
{{- end }}
{{- define "kfarm.farmAccount" -}}
system:serviceaccount:{{ .Release.Namespace }}:kfarm-farm
{{- end }}
{{- define "kfarm.whatifAccount" -}}
system:serviceaccount:{{ .Release.Namespace }}:kfarm-whatif
{{- end }}

{{/* A list of strings as a CEL list, which JSON is. */}}
{{- define "kfarm.exempt" -}}
{{ append .Values.gate.exemptNamespaces .Release.Namespace | uniq | toJson }}
{{- end }}

{{/* Selector of the namespaces under the gate. */}}
{{- define "kfarm.enforced" -}}
matchLabels:
  kfarm.dev/enforce: "true"
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ include "kfarm.exempt" . }}
{{- end }}

{{/*
CEL variables that say whether a pod asks for a device of the profile in `params`, in any place
where a pod can ask: containers, init and ephemeral containers, the pod itself, its overhead,
resource claims, and the names by which DeviceClasses are requested as extended resources.
*/}}
{{- define "kfarm.deviceVariables" -}}
- name: containers
  expression: >-
    dyn(object.spec.?containers.orValue([])) +
    dyn(object.spec.?initContainers.orValue([])) +
    dyn(object.spec.?ephemeralContainers.orValue([]))
- name: asked
  expression: >-
    dyn(variables.containers.map(c, dyn(c).?resources.?requests.orValue({}))) +
    dyn(variables.containers.map(c, dyn(c).?resources.?limits.orValue({}))) +
    dyn([dyn(object.spec).?resources.?requests.orValue({}),
    dyn(object.spec).?resources.?limits.orValue({}),
    dyn(object.spec).?overhead.orValue({})])
- name: claims
  expression: size(object.spec.?resourceClaims.orValue([])) > 0
{{- end }}
{{- define "kfarm.usesDevice" -}}
variables.claims || variables.asked.exists(r, r.exists(k, k in params.spec.resourceNames ||
  k.startsWith('deviceclass.resource.kubernetes.io/')))
{{- end }}

{{/* CEL: the pod `object` carries our gate. */}}
{{- define "kfarm.gated" -}}
object.spec.?schedulingGates.orValue([]).exists(g, g.name == 'kfarm.dev/twin-validated')
{{- end }}

{{/* Binding of a policy: refuses and writes to the audit log. */}}
{{- define "kfarm.binding" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels: {{- include "kfarm.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny, Audit]
  {{- if .params }}
  paramRef:
    selector: {}
    parameterNotFoundAction: Deny
  {{- end }}
{{- end }}

{{/*
Metadata of a profile of the catalogue: an ordinary object where its kind is served, a hook that is
never deleted where the CRD is only about to be made.
*/}}
{{- define "kfarm.profileMetadata" -}}
metadata:
  name: {{ .name }}
  labels: {{- include "kfarm.labels" .root | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
    {{- if not .served }}
    helm.sh/hook: post-install,post-upgrade
    helm.sh/hook-delete-policy: hook-failed
    meta.helm.sh/release-name: {{ .root.Release.Name }}
    meta.helm.sh/release-namespace: {{ .root.Release.Namespace }}
    {{- end }}
{{- end }}
