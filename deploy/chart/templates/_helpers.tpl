{{/*
Name of the release's objects. At most 26 characters: with component and group, a StatefulSet may have 52,
since its pods carry the name and a hash in a label.
*/}}
{{- define "promesh.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 26 | trimSuffix "-" -}}
{{- else if contains "promesh" .Release.Name -}}
{{- .Release.Name | trunc 26 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-promesh" (.Release.Name | trunc 18 | trimSuffix "-") -}}
{{- end -}}
{{- end }}

{{/* Labels that select the pods of a tier. Arguments: root, component. */}}
{{- define "promesh.selector" -}}
app.kubernetes.io/name: promesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .group }}
promesh/replica-group: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of an object. Arguments: root, component. */}}
{{- define "promesh.labels" -}}
{{ include "promesh.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: promesh
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* Opening of an object: metadata. Arguments: root, component, name. */}}
{{- define "promesh.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "promesh.labels" . | nindent 2 }}
{{- end }}

{{/* Name of a tier's service account. Arguments: root, tier (key in values), component. */}}
{{- define "promesh.serviceAccount" -}}
{{- $account := (index .root.Values .tier).serviceAccount -}}
{{- if $account.name -}}
{{- $account.name -}}
{{- else -}}
{{- printf "%s-%s" (include "promesh.fullname" .root) .component -}}
{{- end -}}
{{- end }}

{{/* Image of a service. Arguments: root, service. */}}
{{- define "promesh.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/%s" (trimSuffix "/" $image.repository) .service -}}
{{- $digest := get ($image.digests | default dict) .service -}}
{{- if $digest -}}
{{- printf "%s@%s" $name $digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* Address of a pod, without the port. */}}
{{- define "promesh.podAddress" -}}
{{- if eq .Values.ipFamily "IPv6" -}}[$(POD_IP)]{{- else -}}$(POD_IP){{- end -}}
{{- end }}

{{/* Name of a tier's Secret with certificates. Arguments: root, component. */}}
{{- define "promesh.tlsSecret" -}}
{{- if eq .root.Values.tls.mode "secret" -}}
{{- .root.Values.tls.secretName -}}
{{- else -}}
{{- printf "%s-%s-tls" (include "promesh.fullname" .root) .component -}}
{{- end -}}
{{- end }}

{{/* DNS name of the exporters. */}}
{{- define "promesh.exporterName" -}}
{{- printf "%s-exporter.%s.svc" (include "promesh.fullname" .) .Release.Namespace -}}
{{- end }}

{{/* Arguments of a sender that connects to exporters. */}}
{{- define "promesh.senderArgs" -}}
- --exporter.endpoints=k8s:///{{ .Release.Namespace }}/{{ include "promesh.fullname" . }}-exporter:4317
{{- if ne .Values.tls.mode "none" }}
- --exporter.tls.ca-file=/etc/promesh-tls/ca.crt
- --exporter.tls.cert-file=/etc/promesh-tls/tls.crt
- --exporter.tls.key-file=/etc/promesh-tls/tls.key
- --exporter.tls.server-name={{ include "promesh.exporterName" . }}
{{- end }}
{{- end }}

{{/* Name of the ConfigMap with prometheus.yml. */}}
{{- define "promesh.configMap" -}}
{{- .Values.config.existingConfigMap | default (printf "%s-config" (include "promesh.fullname" .)) -}}
{{- end }}

{{/* "true" if a StatefulSet of receivers scrapes what has no node. */}}
{{- define "promesh.clusterReceivers" -}}
{{- if and .Values.receivers.enabled (eq .Values.receivers.mode "DaemonSet") (include "promesh.clusterJobs" . | trim) -}}
true
{{- end -}}
{{- end }}
