{{- define "meshctl.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}-sidecar
{{- end }}

{{- define "meshctl.metadata" -}}
name: {{ include "meshctl.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "meshctl.labels" . | nindent 2 }}
{{- end }}

{{- define "meshctl.labels" -}}
app.kubernetes.io/name: meshctl
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
