{{/*
The default scrape jobs. Each definition is a list of scrape configurations, as text, since
prometheus.yml is assembled as text.
*/}}

{{- define "promesh.jobs.credentials" }}
  scheme: https
  authorization:
    credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token
{{- end }}

{{- define "promesh.jobs.interval" }}
{{- with .scrapeInterval }}
  scrape_interval: {{ . }}
{{- end }}
{{- end }}

{{/* Rules that drop what is not stored. Arguments: root, job (key of files/metrics.yaml), metrics. */}}
{{- define "promesh.jobs.keep" }}
{{- if ne .metrics "all" }}
{{- $lists := index (.root.Files.Get "files/metrics.yaml" | fromYaml) .job }}
{{- $names := $lists.minimal }}
{{- if eq .metrics "default" }}
{{- $names = concat $names $lists.default }}
{{- end }}
    - source_labels: [__name__]
      action: keep
      regex: {{ join "|" $names }}
{{- end }}
{{- end }}

{{/* Jobs for the kubelets, directly and for Fargate through the API server. Arguments: root, job, path, more (rules). */}}
{{- define "promesh.jobs.ofKubelet" }}
{{- $kubelet := .root.Values.jobs.kubelet }}
- job_name: {{ .job }}
  {{- include "promesh.jobs.interval" .values }}
  metrics_path: {{ .path }}
  {{- include "promesh.jobs.credentials" . }}
  {{- if $kubelet.insecureSkipVerify }}
  tls_config: {insecure_skip_verify: true}
  {{- else }}
  tls_config: {ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt}
  {{- end }}
  kubernetes_sd_configs:
    - role: node
  relabel_configs:
    # Nothing but the API server reaches the kubelets of Fargate nodes.
    - source_labels: [__meta_kubernetes_node_label_eks_amazonaws_com_compute_type]
      action: drop
      regex: fargate
    - source_labels: [__meta_kubernetes_node_name]
      target_label: node
  {{- include "promesh.jobs.kubeletMetrics" . }}
{{- end }}

{{- define "promesh.jobs.ofFargate" }}
- job_name: {{ .job }}-fargate
  {{- include "promesh.jobs.interval" .values }}
  {{- include "promesh.jobs.credentials" . }}
  tls_config:
    ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
    server_name: kubernetes.default.svc
  kubernetes_sd_configs:
    - role: node
  relabel_configs:
    - source_labels: [__meta_kubernetes_node_label_eks_amazonaws_com_compute_type]
      action: keep
      regex: fargate
    - source_labels: [__meta_kubernetes_node_name]
      target_label: __metrics_path__
      replacement: /api/v1/nodes/$1/proxy{{ .path }}
    - target_label: __address__
      replacement: kubernetes.default.svc:443
    - source_labels: [__meta_kubernetes_node_name]
      target_label: instance
    - source_labels: [__meta_kubernetes_node_name]
      target_label: node
    - target_label: job
      replacement: {{ .job }}
  {{- include "promesh.jobs.kubeletMetrics" . }}
{{- end }}

{{- define "promesh.jobs.kubeletMetrics" }}
{{- if ne .values.metrics "all" }}
  metric_relabel_configs:
    {{- include "promesh.jobs.keep" (dict "root" .root "job" .job "metrics" .values.metrics) }}
    {{- if eq .job "cadvisor" }}
    # Control groups that belong to no pod.
    - source_labels: [__name__, pod]
      action: drop
      regex: container_.+;
    {{- end }}
{{- end }}
{{- end }}

{{- define "promesh.jobs.kubelet" }}
{{- include "promesh.jobs.ofKubelet" (dict "root" . "job" "kubelet" "path" "/metrics" "values" .Values.jobs.kubelet) }}
{{- end }}

{{- define "promesh.jobs.cadvisor" }}
{{- include "promesh.jobs.ofKubelet" (dict "root" . "job" "cadvisor" "path" "/metrics/cadvisor" "values" .Values.jobs.cadvisor) }}
{{- end }}

{{- define "promesh.jobs.fargate" }}
{{- if .Values.jobs.kubelet.fargateThroughProxy }}
{{- if .Values.jobs.kubelet.enabled }}
{{- include "promesh.jobs.ofFargate" (dict "root" . "job" "kubelet" "path" "/metrics" "values" .Values.jobs.kubelet) }}
{{- end }}
{{- if .Values.jobs.cadvisor.enabled }}
{{- include "promesh.jobs.ofFargate" (dict "root" . "job" "cadvisor" "path" "/metrics/cadvisor" "values" .Values.jobs.cadvisor) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "promesh.jobs.apiserver" }}
- job_name: kube-apiserver
  {{- include "promesh.jobs.interval" .Values.jobs.apiserver }}
  {{- include "promesh.jobs.credentials" . }}
  tls_config:
    ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
    server_name: kubernetes.default.svc
  kubernetes_sd_configs:
    - role: endpointslice
      namespaces: {names: [default]}
  relabel_configs:
    - source_labels: [__meta_kubernetes_service_name, __meta_kubernetes_endpointslice_port_name]
      action: keep
      regex: kubernetes;https
  {{- if ne .Values.jobs.apiserver.metrics "all" }}
  metric_relabel_configs:
    {{- include "promesh.jobs.keep" (dict "root" . "job" "kube-apiserver" "metrics" .Values.jobs.apiserver.metrics) }}
  {{- end }}
{{- end }}

{{/* Relabeling rules that keep running pods with a name in their labels. Arguments: names, port. */}}
{{- define "promesh.jobs.namedPods" }}
  kubernetes_sd_configs:
    - role: pod
  relabel_configs:
    - source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_name, __meta_kubernetes_pod_container_port_number]
      action: keep
      regex: {{ .names }};{{ .port }}
    - source_labels: [__meta_kubernetes_pod_phase]
      action: drop
      regex: Pending|Succeeded|Failed
{{- end }}

{{- define "promesh.jobs.kubeStateMetrics" }}
{{- $values := .Values.jobs.kubeStateMetrics }}
- job_name: kube-state-metrics
  {{- include "promesh.jobs.interval" $values }}
  # The labels namespace, pod and so on are those of the objects.
  honor_labels: true
  {{- include "promesh.jobs.namedPods" (dict "names" "kube-state-metrics" "port" $values.port) }}
  {{- if ne $values.metrics "all" }}
  metric_relabel_configs:
    {{- include "promesh.jobs.keep" (dict "root" . "job" "kube-state-metrics" "metrics" $values.metrics) }}
  {{- end }}
{{- end }}

{{- define "promesh.jobs.nodeExporter" }}
{{- $values := .Values.jobs.nodeExporter }}
- job_name: node-exporter
  {{- include "promesh.jobs.interval" $values }}
  {{- include "promesh.jobs.namedPods" (dict "names" "(prometheus-)?node-exporter" "port" $values.port) }}
    - source_labels: [__meta_kubernetes_pod_node_name]
      target_label: node
  {{- if ne $values.metrics "all" }}
  metric_relabel_configs:
    {{- include "promesh.jobs.keep" (dict "root" . "job" "node-exporter" "metrics" $values.metrics) }}
  {{- end }}
{{- end }}

{{- define "promesh.jobs.promesh" }}
{{- $values := .Values.jobs.promesh }}
- job_name: promesh
  {{- include "promesh.jobs.interval" $values }}
  kubernetes_sd_configs:
    - role: pod
      namespaces: {own_namespace: true}
  relabel_configs:
    - source_labels:
        - __meta_kubernetes_pod_label_app_kubernetes_io_name
        - __meta_kubernetes_pod_label_app_kubernetes_io_instance
        - __meta_kubernetes_pod_container_port_name
      action: keep
      regex: promesh;{{ .Release.Name }};web
    - source_labels: [__meta_kubernetes_pod_phase]
      action: drop
      regex: Pending|Succeeded|Failed
    - source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_component]
      target_label: component
    - source_labels: [__meta_kubernetes_namespace]
      target_label: namespace
    - source_labels: [__meta_kubernetes_pod_name]
      target_label: pod
  {{- if ne $values.metrics "all" }}
  metric_relabel_configs:
    {{- include "promesh.jobs.keep" (dict "root" . "job" "promesh" "metrics" $values.metrics) }}
  {{- end }}
{{- end }}

{{/* Rule that drops pods which other default jobs scrape. */}}
{{- define "promesh.jobs.dropNamed" }}
{{- $names := list }}
{{- if .Values.jobs.kubeStateMetrics.enabled }}
{{- $names = append $names "kube-state-metrics" }}
{{- end }}
{{- if .Values.jobs.nodeExporter.enabled }}
{{- $names = append $names "(prometheus-)?node-exporter" }}
{{- end }}
{{- with $names }}
    # Other jobs scrape these pods.
    - source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_name]
      action: drop
      regex: {{ join "|" . }}
{{- end }}
{{- end }}

{{- define "promesh.jobs.pods" }}
# Pods with the annotation prometheus.io/scrape: "true". The annotations prometheus.io/scheme, path
# and port replace http, /metrics and the declared ports. Without the port annotation, each declared
# TCP port is a target, except those of init containers.
- job_name: kubernetes-pods
  {{- include "promesh.jobs.interval" .Values.jobs.pods }}
  kubernetes_sd_configs:
    - role: pod
  relabel_configs:
    - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape]
      action: keep
      regex: "true"
    - source_labels: [__meta_kubernetes_pod_phase]
      action: drop
      regex: Pending|Succeeded|Failed
    {{- include "promesh.jobs.dropNamed" . }}
    - source_labels: [__meta_kubernetes_pod_container_init]
      action: drop
      regex: "true"
    # Drops ports without HTTP, and containers without ports.
    - source_labels:
        - __meta_kubernetes_pod_container_port_number
        - __meta_kubernetes_pod_container_port_protocol
        - __meta_kubernetes_pod_annotation_prometheus_io_port
      action: drop
      regex: (;|[0-9]+;(UDP|SCTP));(.*[^0-9].*)?
    - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scheme]
      regex: (https?)
      target_label: __scheme__
    - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
      regex: (.+)
      target_label: __metrics_path__
    - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
      regex: ([0-9.]+);([0-9]+)
      replacement: $1:$2
      target_label: __address__
    - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
      regex: (.*:.*);([0-9]+)
      replacement: "[$1]:$2"
      target_label: __address__
    - action: labelmap
      regex: __meta_kubernetes_pod_label_(.+)
    - source_labels: [__meta_kubernetes_namespace]
      target_label: namespace
    - source_labels: [__meta_kubernetes_pod_name]
      target_label: pod
    - source_labels: [__meta_kubernetes_pod_node_name]
      target_label: node
{{- end }}

{{- define "promesh.jobs.services" }}
# Endpoints of services with the same annotations, at the TCP ports of the service. Pods that are
# targets of kubernetes-pods are not scraped again.
- job_name: kubernetes-services
  {{- include "promesh.jobs.interval" .Values.jobs.services }}
  kubernetes_sd_configs:
    - role: endpointslice
  relabel_configs:
    - source_labels: [__meta_kubernetes_service_annotation_prometheus_io_scrape]
      action: keep
      regex: "true"
    # Drops other container ports of the pods; they have no such label.
    - source_labels: [__meta_kubernetes_endpointslice_port]
      action: keep
      regex: .+
    - source_labels: [__meta_kubernetes_pod_phase]
      action: drop
      regex: Pending|Succeeded|Failed
    {{- include "promesh.jobs.dropNamed" . }}
    {{- if .Values.jobs.pods.enabled }}
    - source_labels:
        - __meta_kubernetes_pod_annotation_prometheus_io_scrape
        - __meta_kubernetes_pod_container_port_number
        - __meta_kubernetes_pod_annotation_prometheus_io_port
      action: drop
      regex: true;([0-9]+;.*|;[0-9]+)
    {{- end }}
    # Without the port annotation, drops ports without HTTP and those of init containers.
    - source_labels:
        - __meta_kubernetes_endpointslice_port_protocol
        - __meta_kubernetes_service_annotation_prometheus_io_port
      action: drop
      regex: (UDP|SCTP);(.*[^0-9].*)?
    - source_labels:
        - __meta_kubernetes_pod_container_init
        - __meta_kubernetes_service_annotation_prometheus_io_port
      action: drop
      regex: true;(.*[^0-9].*)?
    - source_labels: [__meta_kubernetes_service_annotation_prometheus_io_scheme]
      regex: (https?)
      target_label: __scheme__
    - source_labels: [__meta_kubernetes_service_annotation_prometheus_io_path]
      regex: (.+)
      target_label: __metrics_path__
    - source_labels: [__address__, __meta_kubernetes_service_annotation_prometheus_io_port]
      regex: (.+):[0-9]+;([0-9]+)
      replacement: $1:$2
      target_label: __address__
    - source_labels: [__meta_kubernetes_namespace]
      target_label: namespace
    - source_labels: [__meta_kubernetes_service_name]
      target_label: service
    - source_labels: [__meta_kubernetes_pod_name]
      target_label: pod
    - source_labels: [__meta_kubernetes_pod_node_name]
      target_label: node
{{- end }}
