{{- /* Names are fixed: there is one installation in a cluster, or with namespaceOnly one in a namespace. */}}

{{- define "meshctl.metadata" -}}
name: meshctl-controller
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "meshctl.labels" . | nindent 2 }}
{{- end }}

{{- define "meshctl.labels" -}}
{{ include "meshctl.selector" . }}
app.kubernetes.io/instance: {{ .Release.Namespace | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "meshctl.selector" -}}
app.kubernetes.io/name: meshctl
app.kubernetes.io/component: controller
{{- end }}

{{- define "meshctl.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}
