{{- /* What is read to know a Service's pods. */}}
{{- define "meshctl.endpoints" -}}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end }}

{{- /* What the controller does in the namespaces that it follows. Events say what was injected, or why not. */}}
{{- define "meshctl.following" -}}
{{ include "meshctl.endpoints" . }}
{{- if not .Values.namespaceOnly }}
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
{{- end }}

{{- define "meshctl.subjects" -}}
- kind: ServiceAccount
  name: meshctl-controller
  namespace: {{ .Release.Namespace | quote }}
{{- end }}
