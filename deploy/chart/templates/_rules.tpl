{{- /* What is read to know a Service's pods. */}}
{{- define "meshctl.endpoints" -}}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end }}

{{- /* What the controller does in the namespaces that it follows. Events say what was injected, or why not, of whatever
       made the pod: the Deployment of its ReplicaSet, the CronJob of its Job. */}}
{{- define "meshctl.following" -}}
{{ include "meshctl.endpoints" . }}
{{- if not .Values.namespaceOnly }}
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get]
{{- end }}
{{- end }}

{{- define "meshctl.subjects" -}}
- kind: ServiceAccount
  name: meshctl-controller
  namespace: {{ .Release.Namespace | quote }}
{{- end }}
