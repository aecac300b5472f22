{{/*
Derives permissions from scrape configurations.

promesh.permissions: JSON object whose keys are permissions, written VERB|NAMESPACE|GROUP/RESOURCE.
NAMESPACE is * for all. VERB is `watch` (list and watch) or `get`. A key URL||PATH is a path of the API
server. Arguments: root, jobs (list of scrape configurations).
*/}}
{{- define "promesh.permissions" -}}
{{- $all := dict -}}
{{- $own := .root.Release.Namespace -}}
{{- $related := dict "node" (list "/nodes") "pod" (list "/pods") "service" (list "/services") "ingress" (list "networking.k8s.io/ingresses")
      "endpoints" (list "/endpoints" "/services" "/pods") "endpointslice" (list "discovery.k8s.io/endpointslices" "/services" "/pods") -}}
{{- range $job := .jobs -}}
  {{- $ofNodes := false -}}
  {{- range $sd := $job.kubernetes_sd_configs | default list -}}
    {{- $role := lower (toString $sd.role) -}}
    {{- $attach := $sd.attach_metadata | default dict -}}
    {{- if eq $role "node" }}{{ $ofNodes = true }}{{ end -}}
    {{- /* Other clusters and other credentials have their own permissions. */ -}}
    {{- if not (or $sd.api_server $sd.kubeconfig_file) -}}
      {{- $scopes := list -}}
      {{- with $sd.namespaces -}}
        {{- $scopes = .names | default list -}}
        {{- if .own_namespace }}{{ $scopes = append $scopes $own }}{{ end -}}
      {{- end -}}
      {{- if not $scopes }}{{ $scopes = list "*" }}{{ end -}}
      {{- $resources := get $related $role | default list -}}
      {{- $hasPods := has $role (list "pod" "endpoints" "endpointslice") -}}
      {{- if and $hasPods $attach.deployment }}{{ $resources = append $resources "apps/replicasets" }}{{ end -}}
      {{- if and $hasPods $attach.cronjob }}{{ $resources = append $resources "batch/jobs" }}{{ end -}}
      {{- range $scope := $scopes -}}
        {{- range $resources -}}
          {{- $_ := set $all (printf "watch|%s|%s" (ternary "*" $scope (eq . "/nodes")) .) true -}}
        {{- end -}}
      {{- end -}}
      {{- if and $hasPods $attach.node }}{{ $_ := set $all "watch|*|/nodes" true }}{{ end -}}
      {{- if and (ne $role "node") $attach.namespace }}{{ $_ := set $all "watch|*|/namespaces" true }}{{ end -}}
    {{- end -}}
  {{- end -}}
  {{- /* What the targets themselves ask the API server about a job that presents the pod's token. */ -}}
  {{- $token := coalesce ($job.authorization | default dict).credentials_file $job.bearer_token_file | default "" -}}
  {{- if hasSuffix "secrets/kubernetes.io/serviceaccount/token" $token -}}
    {{- $paths := list -}}
    {{- range $rule := $job.relabel_configs | default list -}}
      {{- if eq (toString $rule.target_label) "__metrics_path__" -}}
        {{- $paths = append $paths ($rule.replacement | default "$1" | toString) -}}
      {{- end -}}
    {{- end -}}
    {{- if or $job.metrics_path (not (join " " $paths | contains "/proxy")) -}}
      {{- $paths = append $paths ($job.metrics_path | default "/metrics") -}}
    {{- end -}}
    {{- range $path := $paths -}}
      {{- if regexMatch "^/api/v1/nodes/.*/proxy" $path -}}
        {{- $_ := set $all "get|*|/nodes/proxy" true -}}
      {{- else if regexMatch "^/api/v1/namespaces/.*/(services|pods)/.*/proxy" $path -}}
        {{- $_ := set $all (printf "get|*|/%s/proxy" (regexFind "services|pods" (regexReplaceAll "^/api/v1/namespaces/[^/]*" $path ""))) true -}}
      {{- else if $ofNodes -}}
        {{- $resource := "proxy" -}}
        {{- if hasPrefix "/metrics" $path }}{{ $resource = "metrics" }}{{ end -}}
        {{- if hasPrefix "/stats" $path }}{{ $resource = "stats" }}{{ end -}}
        {{- $_ := set $all (printf "get|*|/nodes/%s" $resource) true -}}
      {{- else if not (contains "$" $path) -}}
        {{- $_ := set $all (printf "URL||%s" $path) true -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- /* A permission in all namespaces includes each namespace. */ -}}
{{- range $key, $_ := $all -}}
  {{- $parts := splitList "|" $key -}}
  {{- $everywhere := printf "%s|*|%s" (index $parts 0) (index $parts 2) -}}
  {{- if and (ne (index $parts 1) "*") (hasKey $all $everywhere) }}{{ $_ := unset $all $key }}{{ end -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}

{{/* Rules of a role. Arguments: permissions (object), namespace (* for a cluster role). */}}
{{- define "promesh.rules" -}}
{{- $rules := dict -}}
{{- $urls := list -}}
{{- range $key, $_ := .permissions -}}
  {{- $parts := splitList "|" $key -}}
  {{- if and (eq (index $parts 0) "URL") (eq $.namespace "*") -}}
    {{- $urls = append $urls (index $parts 2) -}}
  {{- else if eq (index $parts 1) $.namespace -}}
    {{- $group := regexFind "^[^/]*" (index $parts 2) -}}
    {{- $rule := printf "%s|%s" (index $parts 0) $group -}}
    {{- $_ := set $rules $rule (append (get $rules $rule | default list) (trimPrefix (printf "%s/" $group) (index $parts 2))) -}}
  {{- end -}}
{{- end -}}
{{- range $rule, $resources := $rules }}
- apiGroups: [{{ index (splitList "|" $rule) 1 | quote }}]
  resources: {{ $resources | sortAlpha | toJson }}
  verbs: {{ if hasPrefix "watch" $rule }}[list, watch]{{ else }}[get]{{ end }}
{{- end }}
{{- with $urls }}
- nonResourceURLs: {{ . | sortAlpha | toJson }}
  verbs: [get]
{{- end }}
{{- end }}

{{/* Scrape configurations of the receivers, as JSON. Argument: root. */}}
{{- define "promesh.mainScrapeConfigs" -}}
{{- $jobs := concat ((include "promesh.userJobs" . | fromJson).jobs | default list) (.Values.rbac.scrapeConfigs | default list) -}}
{{- with include "promesh.mainJobs" . | trim }}{{ $jobs = concat $jobs (fromYamlArray .) }}{{ end -}}
{{- toJson (dict "jobs" $jobs) -}}
{{- end }}

{{/* Role and binding in one namespace, or for the cluster. Arguments: root, component, name, namespace, rules, accounts. */}}
{{- define "promesh.role" -}}
{{- $kind := ternary "ClusterRole" "Role" (eq .namespace "*") -}}
{{- $namespace := ternary "" .namespace (eq .namespace "*") -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "promesh.labels" . | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "promesh.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ .name }}}
subjects:
  {{- range .accounts }}
  - {kind: ServiceAccount, name: {{ . }}, namespace: {{ $.root.Release.Namespace }}}
  {{- end }}
{{ end }}

{{/* Permissions to follow monitors and to discover the targets that they select. Argument: root. */}}
{{- define "promesh.monitorPermissions" -}}
{{- $all := list -}}
{{- $resources := list "/namespaces" "/nodes" "/pods" "/services" "/endpoints" "discovery.k8s.io/endpointslices" "networking.k8s.io/ingresses" -}}
{{- range list "servicemonitors" "podmonitors" "probes" "scrapeconfigs" -}}
  {{- $resources = append $resources (printf "monitoring.coreos.com/%s" .) -}}
{{- end -}}
{{- with .Values.monitors.prometheus -}}
  {{- $kind := ternary "prometheusagents" "prometheuses" (hasPrefix "prometheusagent/" .) -}}
  {{- $resources = append $resources (printf "monitoring.coreos.com/%s" $kind) -}}
{{- end -}}
{{- range $resources }}{{ $all = append $all (printf "watch|*|%s" .) }}{{ end -}}
{{- range $namespace := .Values.monitors.secretNamespaces -}}
  {{- range list "/secrets" "/configmaps" }}{{ $all = append $all (printf "get|%s|%s" $namespace .) }}{{ end -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}
