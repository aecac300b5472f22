{{/* Checks across values. The schema checks single ones. Each message says what to write instead. */}}
{{- define "promesh.validate" -}}
{{- $v := .Values -}}
{{- $r := $v.receivers -}}
{{- include "promesh.validateForms" . -}}
{{- if not $v.cluster -}}
{{- fail "cluster is empty: set it to the name of this Kubernetes cluster, such as `cluster: prod-eu-1`. It must be unique per AMP workspace, because AMP elects one replica per name" -}}
{{- end -}}
{{- if $r.enabled -}}
  {{- if not $v.exporters.enabled }}{{ fail "receivers.enabled is true and exporters.enabled is false: receivers need exporters; set exporters.enabled: true" }}{{ end -}}
  {{- $names := list -}}
  {{- range $r.groups -}}
    {{- if has .name $names }}{{ fail (printf "receivers.groups: two groups have the name %q; AMP elects one group by its name, so write different ones, such as a and b" .name) }}{{ end -}}
    {{- $names = append $names .name -}}
  {{- end -}}
  {{- if gt (include "promesh.bytes" $r.outbox.maxBytes | float64) (include "promesh.bytes" $r.outbox.size | float64) -}}
    {{- fail (printf "receivers.outbox: maxBytes (%s) exceeds size (%s): set size to the volume's size and maxBytes to about 80 %% of it" $r.outbox.maxBytes $r.outbox.size) -}}
  {{- end -}}
  {{- if or (eq $r.mode "DaemonSet") (not $r.outbox.persistent) -}}
    {{- $limit := get ($r.resources.limits | default dict) "ephemeral-storage" -}}
    {{- if $limit -}}{{- if lt (include "promesh.bytes" $limit | float64) (include "promesh.bytes" $r.outbox.size | float64) -}}
      {{- fail (printf "receivers.resources.limits.ephemeral-storage (%s) is below receivers.outbox.size (%s): the outbox is an emptyDir, which counts, and the kubelet would evict the pod. Set the limit to at least the size plus 256Mi" $limit $r.outbox.size) -}}
    {{- end -}}{{- end -}}
  {{- end -}}
  {{- if and $r.autoscaling.enabled (eq $r.mode "DaemonSet") }}{{ fail "receivers.autoscaling.enabled: a DaemonSet has one pod per node and cannot be scaled; set it to false" }}{{ end -}}
  {{- if and $v.monitors.enabled (eq $r.mode "DaemonSet") }}{{ fail "monitors.enabled with receivers.mode DaemonSet: every node would scrape the probes and static targets of monitors; set receivers.mode: StatefulSet" }}{{ end -}}
  {{- if and $v.config.clusterJobs (ne $r.mode "DaemonSet") }}{{ fail "config.clusterJobs is only for receivers.mode DaemonSet: write the jobs into scrape_configs of config.prometheus" }}{{ end -}}
{{- end -}}
{{- if and $v.gateways.enabled (not $v.exporters.enabled) }}{{ fail "gateways.enabled is true and exporters.enabled is false: gateways need exporters; set exporters.enabled: true" }}{{ end -}}
{{- range $tier := list "receivers" "exporters" "gateways" -}}
  {{- $s := (index $v $tier).autoscaling -}}
  {{- if $s.enabled -}}
    {{- if gt (int $s.minReplicas) (int $s.maxReplicas) }}{{ fail (printf "%s.autoscaling: minReplicas (%d) exceeds maxReplicas (%d)" $tier (int $s.minReplicas) (int $s.maxReplicas)) }}{{ end -}}
    {{- $metric := get (dict "receivers" "samplesWaiting" "exporters" "requestsInFlight" "gateways" "bytesInFlight") $tier -}}
    {{- if not (or $s.cpu (get $s $metric)) }}{{ fail (printf "%s.autoscaling has no metric: set cpu (percent of the request, such as 70) or %s" $tier $metric) }}{{ end -}}
    {{- if and $s.cpu (not (get ((index $v $tier).resources.requests | default dict) "cpu")) }}{{ fail (printf "%s.autoscaling.cpu is a percentage of the request: set %s.resources.requests.cpu" $tier $tier) }}{{ end -}}
  {{- end -}}
  {{- $account := (index $v $tier).serviceAccount -}}
  {{- if and (not $account.create) (not $account.name) }}{{ fail (printf "%s.serviceAccount.create is false: set %s.serviceAccount.name to the account to use" $tier $tier) }}{{ end -}}
{{- end -}}
{{- if and (eq $v.tls.mode "secret") (not $v.tls.secretName) }}{{ fail "tls.mode is secret: set tls.secretName to a Secret with tls.crt, tls.key and ca.crt" }}{{ end -}}
{{- if and $v.tls.secretName (ne $v.tls.mode "secret") }}{{ fail (printf "tls.secretName is set and tls.mode is %s: set tls.mode: secret" $v.tls.mode) }}{{ end -}}
{{- if and $v.gateways.tls.clientCertificates (not $v.gateways.tls.secretName) }}{{ fail "gateways.tls.clientCertificates needs TLS: set gateways.tls.secretName" }}{{ end -}}
{{- if and $v.gateways.ingress.enabled (not $v.gateways.ingress.host) }}{{ fail "gateways.ingress.host is empty: set it to the DNS name that clients push to" }}{{ end -}}
{{- if and $v.gateways.route.enabled (not $v.gateways.route.parentRefs) }}{{ fail "gateways.route.parentRefs is empty: name the Gateway that the routes attach to, such as [{name: public, namespace: gateways}]" }}{{ end -}}
{{- include "promesh.validateConfig" . -}}
{{- end }}

{{/* Checks prometheus.yml as far as the chart depends on it. `receiver-svc check` checks the rest. */}}
{{- define "promesh.validateConfig" -}}
{{- $v := .Values -}}
{{- $c := $v.config -}}
{{- if $c.existingConfigMap -}}
  {{- if or $c.prometheus $c.files $c.clusterJobs $v.remoteWrite }}{{ fail "config.existingConfigMap replaces config.prometheus, config.files, config.clusterJobs and remoteWrite: empty them, or empty config.existingConfigMap" }}{{ end -}}
  {{- if and $v.receivers.enabled $v.rbac.create (not $v.rbac.scrapeConfigs) }}{{ fail "config.existingConfigMap: the chart cannot read which permissions its jobs need. Copy the jobs with kubernetes_sd_configs into rbac.scrapeConfigs, or set rbac.create: false and bind the roles yourself" }}{{ end -}}
{{- else -}}
  {{- $parsed := include "promesh.parsed" . | fromJson -}}
  {{- with $parsed.Error }}{{ fail (printf "config.prometheus is no YAML mapping (%s): paste the content of prometheus.yml as text, after `prometheus: |`" .) }}{{ end -}}
  {{- if and $parsed.kind $parsed.apiVersion }}{{ fail (printf "config.prometheus is a Kubernetes object (%s): paste only the content of prometheus.yml, without the %s around it" $parsed.kind $parsed.kind) }}{{ end -}}
  {{- if and $parsed.receivers $parsed.service }}{{ fail "config.prometheus is a configuration of the OpenTelemetry Collector: translate it, or paste the value of receivers.prometheus.config and replace each $$ by $" }}{{ end -}}
  {{- $whole := include "promesh.mainFile" . | fromYaml -}}
  {{- $sections := list "global" -}}
  {{- if or $parsed.remote_write $v.remoteWrite }}{{ $sections = append $sections "remote_write" }}{{ end -}}
  {{- if include "promesh.mainJobs" . }}{{ $sections = append $sections "scrape_config_files" }}{{ end -}}
  {{- range $sections -}}
    {{- if not (hasKey $whole .) }}{{ fail (printf "config.prometheus: the chart cannot append the section %s to the file: write each section in block style at the start of a line, in one YAML document without `...`" .) }}{{ end -}}
  {{- end -}}
  {{- if not (or $parsed.remote_write $v.remoteWrite) }}{{ fail "no destination: set remoteWrite, such as\nremoteWrite:\n  - url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-…/api/v1/remote_write\n    sigv4: {region: us-east-1}" }}{{ end -}}
  {{- if and $parsed.remote_write $v.remoteWrite }}{{ fail "config.prometheus contains remote_write, and remoteWrite is set too: remove one of them" }}{{ end -}}
  {{- range $i, $w := $parsed.remote_write | default $v.remoteWrite -}}
    {{- if regexMatch "aps-workspaces[.-]" (toString $w.url) -}}
      {{- if hasPrefix "http:" (toString $w.url) }}{{ fail (printf "remote_write[%d]: AMP accepts https only: %s" $i $w.url) }}{{ end -}}
      {{- if not (hasKey $w "sigv4") }}{{ fail (printf "remote_write[%d]: AMP refuses unsigned requests: add `sigv4: {region: REGION}`" $i) }}{{ end -}}
      {{- if not (hasSuffix "/api/v1/remote_write" (toString $w.url)) }}{{ fail (printf "remote_write[%d]: the URL of an AMP workspace ends in /api/v1/remote_write: %s" $i $w.url) }}{{ end -}}
    {{- end -}}
  {{- end -}}
  {{- if $parsed.global -}}
    {{- $labels := $parsed.global.external_labels | default dict -}}
    {{- if and $v.receivers.enabled (not (regexMatch "\\$\\{?REPLICA\\b" (get $labels "__replica__" | toString))) }}{{ fail "config.prometheus: global.external_labels must contain `__replica__: ${REPLICA}`, the name of the replica group; AMP drops the samples of one of two groups by it" }}{{ end -}}
    {{- $cluster := get $labels "cluster" | toString -}}
    {{- if not (or (regexMatch "^\\$\\{?CLUSTER\\}?$" $cluster) (eq $cluster $v.cluster)) }}{{ fail (printf "config.prometheus: global.external_labels must contain `cluster: ${CLUSTER}`, which the chart sets to %q; found %q" $v.cluster (get $labels "cluster" | default "")) }}{{ end -}}
  {{- end -}}
  {{- if and $parsed.scrape_config_files (include "promesh.mainJobs" .) -}}
    {{- if not (has "default-jobs.yml" $parsed.scrape_config_files) }}{{ fail "config.prometheus has scrape_config_files: add default-jobs.yml to the list, or set jobs.*.enabled: false" }}{{ end -}}
  {{- end -}}
  {{- $names := list -}}
  {{- range ((include "promesh.mainScrapeConfigs" . | fromJson).jobs | default list) -}}
    {{- if has .job_name $names }}{{ fail (printf "two jobs are named %q: rename the one in config.prometheus, or turn off the default job" .job_name) }}{{ end -}}
    {{- if .job_name }}{{ $names = append $names .job_name }}{{ end -}}
  {{- end -}}
  {{- range $name, $_ := $c.files -}}
    {{- if has $name (list "prometheus.yml" "default-jobs.yml" "cluster.yml" "cluster-jobs.yml") }}{{ fail (printf "config.files: the chart writes %s itself; choose another name" $name) }}{{ end -}}
  {{- end -}}
  {{- if eq $v.receivers.mode "DaemonSet" -}}
    {{- range $job := ((include "promesh.userJobs" . | fromJson).jobs | default list) -}}
      {{- range $key, $_ := $job -}}
        {{- if and (or (hasSuffix "_sd_configs" $key) (eq $key "static_configs")) (ne $key "kubernetes_sd_configs") }}{{ fail (printf "config.prometheus: job %q uses %s, and with receivers.mode DaemonSet every node would scrape it: move the job to config.clusterJobs" $job.job_name $key) }}{{ end -}}
      {{- end -}}
      {{- range $job.kubernetes_sd_configs | default list -}}
        {{- if has (lower (toString .role)) (list "service" "ingress") }}{{ fail (printf "config.prometheus: targets of role %s (job %q) have no node, and a DaemonSet does not scrape them: move the job to config.clusterJobs" .role $job.job_name) }}{{ end -}}
      {{- end -}}
    {{- end -}}
    {{- with $c.clusterJobs | trim -}}
      {{- $list := fromYamlArray . -}}
      {{- if not (kindIs "map" (first $list)) }}{{ fail (printf "config.clusterJobs is no list of scrape configurations: start it with `- job_name: …` (%v)" (first $list)) }}{{ end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* Bytes of a size such as 5Gi, 4GiB or 500M. Suffixes of promesh (GiB, GB) are powers of 1024. */}}
{{- define "promesh.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- $unit := regexReplaceAll "^[0-9.]+" $text "" -}}
{{- $power := get (dict "K" 1 "M" 2 "G" 3 "T" 4 "P" 5) (upper (trunc 1 $unit)) | default 0 | int -}}
{{- $base := ternary 1000.0 1024.0 (regexMatch "^[kMGTP]$" $unit) -}}
{{- range until $power }}{{ $number = mulf $number $base }}{{ end -}}
{{- printf "%.0f" $number -}}
{{- end }}

{{/* Checks the form of single values, where the schema could name only a pattern. */}}
{{- define "promesh.validateForms" -}}
{{- $v := .Values -}}
{{- range $key, $value := dict "prometheus" $v.config.prometheus "clusterJobs" $v.config.clusterJobs -}}
  {{- if not (kindIs "string" $value) }}{{ fail (printf "config.%s is not text: write `%s: |` and indent the content below it, so that it stays verbatim" $key $key) }}{{ end -}}
{{- end -}}
{{- $forms := dict
      "name" (dict "regex" "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$" "expected" "lower-case letters, digits, - and ., as in my-secret")
      "duration" (dict "regex" "^([0-9]+(ms|[smhdwy]))*$" "expected" "a duration with units, such as 30s or 1h30m")
      "size" (dict "regex" "^[0-9]+(\\.[0-9]+)?([KMGTPE]i?B|B)?$" "expected" "a size such as 4GiB")
      "quantity" (dict "regex" "^([0-9]+(\\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?)?$" "expected" "a Kubernetes quantity such as 5Gi")
      "role" (dict "regex" "^(arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)?$" "expected" "the ARN of an IAM role, such as arn:aws:iam::111122223333:role/promesh, or nothing")
      "digest" (dict "regex" "^sha256:[0-9a-f]{64}$" "expected" "sha256: and 64 hexadecimal digits")
      "flag" (dict "regex" "^--[a-z]" "expected" "one flag per entry, such as --outbox.linger=1s")
      "group" (dict "regex" "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" "expected" "lower-case letters, digits and -, such as a")
      "percent" (dict "regex" "^[0-9]+%?$" "expected" "a number or a percentage, such as 1 or 10%") -}}
{{- $checks := list
      (list "fullnameOverride" "name" $v.fullnameOverride) (list "config.existingConfigMap" "name" $v.config.existingConfigMap)
      (list "tls.secretName" "name" $v.tls.secretName) (list "priorityClass.name" "name" $v.priorityClass.name)
      (list "gateways.tls.secretName" "name" $v.gateways.tls.secretName) (list "gateways.tokensSecretName" "name" $v.gateways.tokensSecretName)
      (list "config.scrapeInterval" "duration" $v.config.scrapeInterval) (list "receivers.outbox.spillAfter" "duration" $v.receivers.outbox.spillAfter)
      (list "receivers.outbox.maxBytes" "size" $v.receivers.outbox.maxBytes) (list "receivers.outbox.size" "quantity" $v.receivers.outbox.size)
      (list "gateways.autoscaling.bytesInFlight" "quantity" $v.gateways.autoscaling.bytesInFlight) -}}
{{- range $job, $values := $v.jobs }}{{ $checks = append $checks (list (printf "jobs.%s.scrapeInterval" $job) "duration" $values.scrapeInterval) }}{{ end -}}
{{- range $service, $digest := $v.image.digests }}{{ $checks = append $checks (list (printf "image.digests.%s" $service) "digest" $digest) }}{{ end -}}
{{- range $i, $group := $v.receivers.groups }}{{ $checks = append $checks (list (printf "receivers.groups[%d].name" $i) "group" $group.name) }}{{ end -}}
{{- range $tier := list "receivers" "exporters" "gateways" -}}
  {{- $values := index $v $tier -}}
  {{- $checks = append $checks (list (printf "%s.serviceAccount.roleArn" $tier) "role" $values.serviceAccount.roleArn) -}}
  {{- $checks = append $checks (list (printf "%s.podDisruptionBudget.maxUnavailable" $tier) "percent" $values.podDisruptionBudget.maxUnavailable) -}}
  {{- range $i, $arg := $values.extraArgs }}{{ $checks = append $checks (list (printf "%s.extraArgs[%d]" $tier $i) "flag" $arg) }}{{ end -}}
{{- end -}}
{{- range $checks -}}
  {{- $form := get $forms (index . 1) -}}
  {{- if not (regexMatch $form.regex (index . 2 | default "" | toString)) }}{{ fail (printf "%s is %q: write %s" (index . 0) (index . 2 | toString) $form.expected) }}{{ end -}}
{{- end -}}
{{- end }}
