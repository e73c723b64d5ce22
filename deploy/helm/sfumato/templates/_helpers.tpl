{{/* The prefix of all names. */}}
{{- define "sfumato.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that selectors use; they must not change. (dict "root" $ "component" "door") */}}
{{- define "sfumato.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .model }}
sfumato/model: {{ . }}
{{- end }}
{{- end -}}

{{- define "sfumato.labels" -}}
{{ include "sfumato.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "image" .Values.door.image "suffix" "-gpu") */}}
{{- define "sfumato.image" -}}
{{- if .image.digest -}}
{{ printf "%s@%s" .image.repository .image.digest }}
{{- else -}}
{{ printf "%s:%s%s" .image.repository (default .root.Chart.AppVersion .image.tag) (default "" .suffix) }}
{{- end -}}
{{- end -}}

{{/* Security context of every pod, without variables for other services. */}}
{{- define "sfumato.podSecurity" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sfumato.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Scheduling: (dict "root" $ "part" $part "component" "door") */}}
{{- define "sfumato.placement" -}}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range .part.topologySpreadConstraints }}
  - labelSelector:
      matchLabels:
        {{- include "sfumato.selector" $ | nindent 8 }}
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* A role's Redis variables: (dict "root" $ "role" "door") */}}
{{- define "sfumato.redisEnv" -}}
{{- $redis := .root.Values.redis -}}
{{- $user := index $redis.users .role -}}
{{- if $user.urlSecret }}
- name: SFUMATO_REDIS_URL
  valueFrom:
    secretKeyRef: {name: {{ $user.urlSecret }}, key: {{ $user.urlKey }}}
{{- else }}
{{- $url := include "sfumato.redisUrl" .root -}}
{{- if $user.passwordSecret }}
{{- $parts := splitn "://" 2 $url }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $user.passwordSecret }}, key: {{ $user.passwordKey }}}
- name: SFUMATO_REDIS_URL
  value: {{ printf "%s://%s:$(REDIS_PASSWORD)@%s" $parts._0 $user.username $parts._1 | quote }}
{{- else }}
- name: SFUMATO_REDIS_URL
  value: {{ $url | quote }}
{{- end }}
{{- end }}
{{- with $redis.tls }}
{{- if .secret }}
- {name: SFUMATO_REDIS_CA_FILE, value: /etc/sfumato/redis/{{ .ca }}}
{{- if .cert }}
- {name: SFUMATO_REDIS_CERT_FILE, value: /etc/sfumato/redis/{{ .cert }}}
- {name: SFUMATO_REDIS_KEY_FILE, value: /etc/sfumato/redis/{{ .key }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sfumato.redisUrl" -}}
{{- if .Values.redis.external.url -}}
{{ .Values.redis.external.url }}
{{- else if .Values.redis.bundled.enabled -}}
redis://{{ include "sfumato.fullname" . }}-redis:6379/0
{{- else -}}
{{- fail "set redis.external.url, redis.users.*.urlSecret for each role, or redis.bundled.enabled=true" -}}
{{- end -}}
{{- end -}}

{{/* A quantity in MiB: "8Gi" */}}
{{- define "sfumato.mebibytes" -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $mib := dict "" 9.5367431640625e-7 "k" 0.00095367431640625 "Ki" 0.0009765625 -}}
{{- $mib = merge $mib (dict "M" 0.95367431640625 "Mi" 1.0 "G" 953.67431640625 "Gi" 1024.0) -}}
{{- $mib = merge $mib (dict "T" 953674.31640625 "Ti" 1048576.0 "P" 953674316.40625 "Pi" 1073741824.0) -}}
{{- $mib = merge $mib (dict "E" 953674316406.25 "Ei" 1099511627776.0) -}}
{{- mulf (float64 $number) (get $mib (trimPrefix $number .)) -}}
{{- end -}}

{{/* The Secret with the API key of KEDA and Prometheus. */}}
{{- define "sfumato.metricsKeySecret" -}}
{{ required "door.metricsKey.secret: with door.auth=keys, KEDA and Prometheus need a key of scope metrics" .Values.door.metricsKey.secret }}
{{- end -}}

{{/* SFUMATO_* from maps; earlier ones override: (list $worker.env .Values.settings) */}}
{{- define "sfumato.settings" -}}
{{- $merged := dict -}}
{{- range . }}{{- $merged = merge $merged . }}{{- end }}
{{- range $name := keys $merged | sortAlpha }}
- {name: {{ $name }}, value: {{ get $merged $name | quote }}}
{{- end }}
{{- end -}}

{{/* Mounts of every container. */}}
{{- define "sfumato.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.redis.tls.secret }}
- {name: redis-tls, mountPath: /etc/sfumato/redis, readOnly: true}
{{- end }}
{{- end -}}

{{- define "sfumato.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 4Gi}
{{- with .Values.redis.tls.secret }}
- name: redis-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{/* A model's worker values: those under `worker`, overridden by the model's own. */}}
{{- define "sfumato.worker" -}}
{{- $own := omit .model "name" "modelName" "weights" "gpus" "pool" "modelMemory" -}}
{{- mergeOverwrite (deepCopy .root.Values.worker) $own | toYaml -}}
{{- end -}}
