{{/* PodDisruptionBudget of a tier. Arguments: as of the pod, name. */}}
{{- define "promesh.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "promesh.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ (index .root.Values .tier).podDisruptionBudget.maxUnavailable }}
  # A pod that does not start must not block a drain of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "promesh.selector" . | nindent 6 }}
{{- end }}

{{/* HorizontalPodAutoscaler of a tier. Arguments: as of the pod, name, kind, metric, target. */}}
{{- define "promesh.autoscaler" -}}
{{- $scaling := (index .root.Values .tier).autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "promesh.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: {{ .kind }}, name: {{ .name }}}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  metrics:
    {{- if $scaling.cpu }}
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ $scaling.cpu }}}}
    {{- end }}
    {{- if .target }}
    - type: Pods
      pods:
        metric: {name: {{ .metric }}}
        target: {type: AverageValue, averageValue: {{ ternary .target (.target | int64 | toString) (kindIs "string" .target) | quote }}}
    {{- end }}
  behavior:
    scaleDown:
      {{- if and (eq .tier "receivers") (not .target) }}
      # In an outage of the backend receivers need less CPU, and a smaller group would leave samples on a
      # volume that no pod reads. Only the number of waiting samples tells an outage.
      selectPolicy: Disabled
      {{- else }}
      # One pod every five minutes: each change of the members moves targets.
      stabilizationWindowSeconds: 300
      policies: [{type: Pods, value: 1, periodSeconds: 300}]
      {{- end }}
{{- end }}
