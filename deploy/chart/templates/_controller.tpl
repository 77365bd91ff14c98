{{- /* The controller's configuration. Whatever changes it makes new controller pods, by the annotation checksum/config. */}}

{{- define "meshctl.controller" -}}
log_level: {{ .Values.logLevel }}
cluster_domain: {{ .Values.clusterDomain | quote }}
namespaces:
  {{- if .Values.namespaceOnly }}
  - {{ .Release.Namespace | quote }}
  {{- else if .Values.namespaces }}
  {{- range .Values.namespaces }}
  - {{ . | quote }}
  {{- end }}
  {{- else }} []
  {{- end }}
webhook:
  enabled: {{ not .Values.namespaceOnly }}
  address: "[::]:8443"
  certificates: {{ .Values.webhook.certificates }}
endpoints:
  address: "[::]:8086"
  streams_per_address: {{ .Values.endpoints.streamsPerAddress }}
  names_per_address: {{ .Values.endpoints.namesPerAddress }}
admin: {address: "[::]:9990"}
injection:
  image: {{ include "meshctl.image" . | quote }}
  discovery: {{ .Values.injection.discovery }}
  {{- if .Values.injection.controllerAddress }}
  controller_address: {{ .Values.injection.controllerAddress | quote }}
  {{- else }}
  controller_address: "meshctl-controller.{{ .Release.Namespace }}.svc:8086"
  {{- end }}
  {{- with .Values.injection }}
  enabled_by_default: {{ .enabledByDefault }}
  native_sidecar: {{ .nativeSidecar }}
  {{- if .skipInboundPorts }}
  skip_inbound_ports: {{ .skipInboundPorts | quote }}
  {{- end }}
  {{- if .skipOutboundPorts }}
  skip_outbound_ports: {{ .skipOutboundPorts | quote }}
  {{- end }}
  {{- if .opaquePorts }}
  opaque_ports: {{ .opaquePorts | quote }}
  {{- end }}
  cpu_request: {{ .cpuRequest | quote }}
  {{- if .cpuLimit }}
  cpu_limit: {{ .cpuLimit | quote }}
  {{- else }}
  cpu_limit: null
  {{- end }}
  memory_request: {{ .memoryRequest | quote }}
  {{- if .memoryLimit }}
  memory_limit: {{ .memoryLimit | quote }}
  {{- else }}
  memory_limit: null
  {{- end }}
  log_level: {{ .logLevel }}
  access_log: {{ .accessLog }}
  shutdown_grace_s: {{ .shutdownGraceSeconds }}
  {{- end }}
{{- end }}
