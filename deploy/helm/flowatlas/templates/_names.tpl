{{- define "flowatlas.partOf" -}}
app.kubernetes.io/part-of: {{ .Values.name }}
{{- end -}}

{{/* Labels of one component, (list . "collector"): what selects its pods, too. */}}
{{- define "flowatlas.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Values.name }}-{{ index . 1 }}
{{ include "flowatlas.partOf" $root }}
{{- end -}}

{{- define "flowatlas.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.image (index . 1) -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "flowatlas.bus" -}}
{{- if and .Values.bus .Values.kafka.create -}}
{{ fail (printf "bus: kafka.create makes a cluster, and %s would be read instead; make it empty (--set bus=)" .Values.bus) }}
{{- else if .Values.bus -}}
{{ .Values.bus }}
{{- else if .Values.kafka.create -}}
kafka://{{ .Values.kafka.cluster }}-kafka-bootstrap.{{ .Release.Namespace }}:9093
{{- else -}}
{{ fail "bus: an address is wanted, or kafka.create" }}
{{- end -}}
{{- end -}}

{{/* What each source needs, and nothing else: see docs/explanation/collector.md. A list, as JSON. */}}
{{- define "flowatlas.capabilities" -}}
{{- $c := .Values.collector -}}
{{- $needs := dict
  "auto" (list "BPF" "NET_ADMIN" "NET_RAW" "PERFMON")
  "ebpf" (list "BPF" "NET_ADMIN" "PERFMON")
  "conntrack" (list "NET_ADMIN")
  "packets" (list "NET_ADMIN" "NET_RAW")
  "counters" (list "SYS_PTRACE")
  "drops" (list "BPF" "PERFMON")
  "dns" (list "NET_RAW")
  "tcpHealth" (list "BPF" "PERFMON")
  "heads" (list "NET_RAW")
-}}
{{- $all := index $needs $c.source -}}
{{- range $c.also }}{{ $all = concat $all (index $needs .) }}{{ end -}}
{{- if $c.tcpHealth }}{{ $all = concat $all (index $needs "tcpHealth") }}{{ end -}}
{{- if $c.heads }}{{ $all = concat $all (index $needs "heads") }}{{ end -}}
{{- $all | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Whether the collector needs to be spared the runtime's AppArmor profile, which lets nobody write below /sys/fs/bpf, nor
look at processes of another profile: "yes", or nothing. */}}
{{- define "flowatlas.unconfined" -}}
{{- if or (has "counters" .Values.collector.also) (contains `"name":"pin"` (include "flowatlas.folders" .)) }}yes{{ end -}}
{{- end -}}

{{/* A number or another scalar as text. Numbers of a file are floating point to Helm, which writes a million as 1e+06. */}}
{{- define "flowatlas.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* Which folders of the node the collector writes to: a list of name, path, setting, as JSON. */}}
{{- define "flowatlas.folders" -}}
{{- $c := .Values.collector -}}
{{- $folders := list -}}
{{- if and $c.resume (has $c.source (list "auto" "ebpf")) -}}
{{- $folders = append $folders (dict "name" "pin" "path" (printf "/sys/fs/bpf/%s" .Values.name)) -}}
{{- end -}}
{{- if and $c.resume (ne $c.source "packets") -}}
{{- $folders = append $folders (dict "name" "journal" "path" (printf "/run/%s" .Values.name)) -}}
{{- end -}}
{{- if $c.spool.enabled -}}
{{- $folders = append $folders (dict "name" "spool" "path" (printf "/var/lib/%s/spool" .Values.name)) -}}
{{- end -}}
{{- $folders | toJson -}}
{{- end -}}

{{/* What the pods of the watcher and of the pipeline may not do. On OpenShift the platform chooses the user. */}}
{{- define "flowatlas.restricted" -}}
runAsNonRoot: true
{{- if not .Values.openshift.enabled }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "flowatlas.settings-checksum" -}}
{{ include (print .Template.BasePath "/settings.yaml") . | sha256sum | trunc 16 }}
{{- end -}}

{{/* How Kafka is spoken to, as JSON: protocol, ca (a secret), and of the component (list . "collector") user (a secret). */}}
{{- define "flowatlas.access" -}}
{{- $root := index . 0 -}}
{{- $k := $root.Values.kafka -}}
{{- $protocol := $k.securityProtocol | default (ternary "SASL_SSL" "PLAINTEXT" $k.create) -}}
{{- $ca := $k.caSecret | default (ternary (printf "%s-cluster-ca-cert" $k.cluster) "" $k.create) -}}
{{- $user := index $k.userSecrets (index . 1) | default (ternary (printf "%s-%s" $root.Values.name (index . 1)) "" $k.create) -}}
{{- $isTls := has $protocol (list "SSL" "SASL_SSL") -}}
{{- $isSasl := hasPrefix "SASL_" $protocol -}}
{{- if and $isSasl (not $user) -}}{{ fail (printf "kafka.userSecrets.%s: %s needs one" (index . 1) $protocol) }}{{- end -}}
{{- dict "protocol" $protocol "ca" (ternary $ca "" $isTls) "user" (ternary $user "" (or $isSasl $isTls)) "sasl" $isSasl "isTls" $isTls | toJson -}}
{{- end -}}

{{- define "flowatlas.access-env" -}}
{{- $root := index . 0 -}}
{{- $a := include "flowatlas.access" . | fromJson -}}
- name: FLOWATLAS_KAFKA_SECURITY_PROTOCOL
  value: {{ $a.protocol }}
{{- if $a.ca }}
- name: FLOWATLAS_KAFKA_CA_FILE
  value: /etc/flowatlas/kafka-ca/ca.crt
{{- end }}
{{- if $a.sasl }}
- name: FLOWATLAS_KAFKA_MECHANISM
  value: {{ $root.Values.kafka.mechanism }}
- name: FLOWATLAS_KAFKA_USERNAME
  value: {{ toYaml $a.user }}
- name: FLOWATLAS_KAFKA_PASSWORD_FILE
  value: /etc/flowatlas/kafka-user/password
{{- else if $a.user }}
- name: FLOWATLAS_KAFKA_CERT_FILE
  value: /etc/flowatlas/kafka-user/user.crt
- name: FLOWATLAS_KAFKA_KEY_FILE
  value: /etc/flowatlas/kafka-user/user.key
{{- end }}
{{- if $root.Values.webConfig.secret }}
- name: FLOWATLAS_{{ index . 1 | upper }}_WEB_CONFIG
  value: /etc/flowatlas/web/web.yml
{{- end }}
{{- end -}}

{{/* The secrets that a component reads, as JSON: a list of name (of the volume) and secret. */}}
{{- define "flowatlas.secrets" -}}
{{- $root := index . 0 -}}
{{- $a := include "flowatlas.access" . | fromJson -}}
{{- $all := list -}}
{{- if $a.ca }}{{ $all = append $all (dict "name" "kafka-ca" "secret" $a.ca) }}{{ end -}}
{{- if $a.user }}{{ $all = append $all (dict "name" "kafka-user" "secret" $a.user) }}{{ end -}}
{{- if eq (index . 1) "pipeline" }}
{{- with $root.Values.nodeKeys.rootSecret }}{{ $all = append $all (dict "name" "root-key" "secret" .) }}{{ end }}
{{- end -}}
{{- with $root.Values.webConfig.secret }}{{ $all = append $all (dict "name" "web" "secret" .) }}{{ end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "flowatlas.secret-mounts" -}}
{{- range include "flowatlas.secrets" . | fromJsonArray }}
- name: {{ .name }}
  mountPath: /etc/flowatlas/{{ .name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "flowatlas.secret-volumes" -}}
{{- range include "flowatlas.secrets" . | fromJsonArray }}
- name: {{ .name }}
  secret:
    secretName: {{ toYaml .secret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* A request of the kubelet's for (list . "/healthz"). */}}
{{- define "flowatlas.asks" -}}
httpGet:
  path: {{ index . 1 }}
  port: metrics
  {{- if (index . 0).Values.webConfig.tls }}
  scheme: HTTPS
  {{- end }}
{{- end -}}
