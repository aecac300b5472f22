{{/*
Assembles prometheus.yml as text. The user's file stays verbatim, since a YAML round trip would change
values (`regex: on` would become `true`).
*/}}

{{/* Default jobs whose targets run on nodes. A DaemonSet scrapes them node by node. */}}
{{- define "promesh.nodeJobs" -}}
{{- $root := . -}}
{{- range list "kubelet" "cadvisor" "kubeStateMetrics" "nodeExporter" "pods" "services" "promesh" -}}
{{- if (index $root.Values.jobs .).enabled -}}
{{- include (printf "promesh.jobs.%s" .) $root -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Default jobs whose targets have no node. */}}
{{- define "promesh.nodelessJobs" -}}
{{- include "promesh.jobs.fargate" . -}}
{{- if .Values.jobs.apiserver.enabled -}}
{{- include "promesh.jobs.apiserver" . -}}
{{- end -}}
{{- end }}

{{/* Jobs of the StatefulSet beside a DaemonSet. */}}
{{- define "promesh.clusterJobs" -}}
{{- if not .Values.config.existingConfigMap -}}
{{- include "promesh.nodelessJobs" . }}
{{- with .Values.config.clusterJobs | trim }}
{{ . }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Default jobs of the file that all receivers read, or the DaemonSet. */}}
{{- define "promesh.mainJobs" -}}
{{- if and .Values.receivers.enabled (not .Values.config.existingConfigMap) -}}
{{- include "promesh.nodeJobs" . -}}
{{- if ne .Values.receivers.mode "DaemonSet" -}}
{{- include "promesh.nodelessJobs" . -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Sections of the user's file, as JSON. */}}
{{- define "promesh.parsed" -}}
{{- $text := .Values.config.prometheus -}}
{{- if trim $text -}}
{{- $text | fromYaml | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{/* Sections that the file lacks. Arguments: root, jobsFile (empty: no default jobs). */}}
{{- define "promesh.sections" -}}
{{- $parsed := include "promesh.parsed" .root | fromJson }}
{{- if not (hasKey $parsed "global") }}
global:
  scrape_interval: {{ .root.Values.config.scrapeInterval }}
  external_labels:
    cluster: ${CLUSTER}
    {{- if .root.Values.receivers.enabled }}
    __replica__: ${REPLICA}
    {{- end }}
{{- end }}
{{- if .jobsFile }}
scrape_config_files: [{{ .jobsFile }}]
{{- end }}
{{- if and (not (hasKey $parsed "remote_write")) .root.Values.remoteWrite }}
remote_write:
  {{- toYaml .root.Values.remoteWrite | nindent 2 }}
{{- end }}
{{- end }}

{{/* The user's file without its jobs: what the StatefulSet beside a DaemonSet reads. */}}
{{- define "promesh.withoutJobs" -}}
{{- $jobs := "(?m)^scrape_config(s|_files):.*\\n((?:[ \\t#-].*)?\\n)*" -}}
{{- $text := regexReplaceAll $jobs (printf "%s\n" .Values.config.prometheus) "" -}}
{{- $parsed := omit (include "promesh.parsed" . | fromJson) "scrape_configs" "scrape_config_files" -}}
{{- $left := dict -}}
{{- if trim $text }}{{ $left = fromYaml $text }}{{ end -}}
{{- if ne (toJson $left) (toJson $parsed) -}}
{{- fail "config.prometheus: the chart cannot separate scrape_configs from the other sections, which receivers.mode DaemonSet needs. Write each section at the start of a line in block style, and define no YAML anchors inside scrape_configs that other sections use" -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{/* The user's file and the sections that it lacks. */}}
{{- define "promesh.mainFile" -}}
{{- $listed := (include "promesh.parsed" . | fromJson).scrape_config_files -}}
{{- $jobsFile := and (include "promesh.mainJobs" .) (not $listed) "default-jobs.yml" | default "" -}}
{{- if trim .Values.config.prometheus -}}
{{- trimAll "\n" .Values.config.prometheus }}
{{ end -}}
{{- include "promesh.sections" (dict "root" . "jobsFile" $jobsFile) | trimPrefix "\n" -}}
{{- end }}

{{/* Jobs of the user: those of prometheus.yml, and of each scrape configuration file in config.files. */}}
{{- define "promesh.userJobs" -}}
{{- $jobs := (include "promesh.parsed" . | fromJson).scrape_configs | default list -}}
{{- range $name, $content := .Values.config.files -}}
{{- $file := fromYaml $content -}}
{{- if kindIs "slice" $file.scrape_configs }}{{ $jobs = concat $jobs $file.scrape_configs }}{{ end -}}
{{- end -}}
{{- toJson (dict "jobs" $jobs) -}}
{{- end }}

{{/* Content of the ConfigMap. */}}
{{- define "promesh.configData" -}}
{{- $main := include "promesh.mainJobs" . -}}
prometheus.yml: |
  {{- include "promesh.mainFile" . | nindent 2 }}
{{- if $main }}
default-jobs.yml: |
  scrape_configs:
    {{- $main | trim | nindent 4 }}
{{- end }}
{{- if include "promesh.clusterReceivers" . }}
cluster.yml: |
  {{- with include "promesh.withoutJobs" . | trimAll "\n" }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- include "promesh.sections" (dict "root" . "jobsFile" "cluster-jobs.yml") | trimPrefix "\n" | nindent 2 }}
cluster-jobs.yml: |
  scrape_configs:
    {{- include "promesh.clusterJobs" . | trim | nindent 4 }}
{{- end }}
{{- range $name, $content := .Values.config.files }}
{{ $name }}: |
  {{- $content | trimAll "\n" | nindent 2 }}
{{- end }}
{{- end }}
