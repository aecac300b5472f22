{{/*
Metadata of a tier's pod template, and the part of the spec that all tiers share.
Arguments: root, tier, component, service, group, hasConfig.
*/}}
{{- define "promesh.podMetadata" -}}
{{- $values := index .root.Values .tier -}}
labels:
  {{- include "promesh.selector" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $restart := and .hasConfig .root.Values.config.restartOnChange (not .root.Values.config.existingConfigMap) }}
{{- if or $restart $values.podAnnotations }}
annotations:
  {{- if $restart }}
  checksum/config: {{ include "promesh.configData" .root | sha256sum }}
  {{- end }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "promesh.podSpec" -}}
{{- $values := index .root.Values .tier -}}
serviceAccountName: {{ include "promesh.serviceAccount" . }}
automountServiceAccountToken: {{ ne .tier "exporters" }}
# Variables of service links begin with the names of services, as those of the flags may.
enableServiceLinks: false
# The drain deadline, and time to write the remaining batches to disk.
terminationGracePeriodSeconds: {{ add $values.drainSeconds 30 }}
{{- with include "promesh.priorityClass" . }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int64 .root.Values.runAsUser }}
  runAsGroup: {{ int64 .root.Values.runAsUser }}
  fsGroup: {{ int64 .root.Values.runAsUser }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
nodeSelector:
  kubernetes.io/os: linux
  {{- with $values.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if $values.affinity }}
  {{- toYaml $values.affinity | nindent 2 }}
  {{- else }}
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: kubernetes.io/arch
              operator: In
              values: {{ toJson .root.Values.arch }}
            {{- with .zones }}
            - key: topology.kubernetes.io/zone
              operator: In
              values: {{ toJson . }}
            {{- end }}
  {{- if and .group (not .zones) (not .perNode) }}
  # The groups of an HA pair prefer different zones.
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: topology.kubernetes.io/zone
          labelSelector:
            matchLabels:
              {{- include "promesh.selector" (dict "root" .root "component" .component) | nindent 14 }}
            matchExpressions:
              - {key: promesh/replica-group, operator: NotIn, values: [{{ .group }}]}
  {{- end }}
  {{- end }}
{{- if not .perNode }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "promesh.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Name of the PriorityClass. Argument: root, tier. */}}
{{- define "promesh.priorityClass" -}}
{{- $class := .root.Values.priorityClass -}}
{{- if $class.name -}}
{{- $class.name -}}
{{- else if $class.create -}}
{{- printf "%s-%s" (include "promesh.fullname" .root) .root.Release.Namespace -}}
{{- end -}}
{{- end }}

{{/* Fields of a container that all services share. Arguments: as of the pod. */}}
{{- define "promesh.container" -}}
{{- $values := index .root.Values .tier -}}
image: {{ include "promesh.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
startupProbe:
  httpGet: {path: /-/healthy, port: web}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /-/ready, port: web}
  periodSeconds: 2
livenessProbe:
  httpGet: {path: /-/healthy, port: web}
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- end }}

{{/* Entries of `volumeMounts`. */}}
{{- define "promesh.mounts" -}}
{{- $values := index .root.Values .tier -}}
{{- if .hasConfig }}
- {name: config, mountPath: /etc/promesh, readOnly: true}
{{- end }}
{{- if ne .root.Values.tls.mode "none" }}
- {name: tls, mountPath: /etc/promesh-tls, readOnly: true}
{{- end }}
{{- with $values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Entries of `volumes`. */}}
{{- define "promesh.volumes" -}}
{{- $values := index .root.Values .tier -}}
{{- if .hasConfig }}
- name: config
  configMap: {name: {{ include "promesh.configMap" .root }}}
{{- end }}
{{- if ne .root.Values.tls.mode "none" }}
- name: tls
  secret: {secretName: {{ include "promesh.tlsSecret" . }}}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
