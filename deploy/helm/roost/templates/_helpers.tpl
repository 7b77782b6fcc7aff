{{- define "roost.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "roost.fullname" -}}
{{- $name := include "roost.name" . -}}
{{- $given := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $given | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "roost.selector" -}}
app.kubernetes.io/name: {{ include "roost.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "roost.labels" -}}
{{ include "roost.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "roost.checked" -}}
{{- if and (not .Values.store.existingSecret) (not .Values.store.url) -}}
{{- fail "say where the database is: store.existingSecret (a Secret with the key ROOST_STORE), or store.url" -}}
{{- end -}}
{{- if and (not .Values.token.existingSecret) (not .Values.token.value) -}}
{{- fail "choose a token: token.existingSecret (a Secret with the key ROOST_TOKEN), or token.value" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.snapshots.url) -}}
{{- fail "autoscaling takes nodes away: set snapshots.url, or sessions with files wait for the home of a node that is gone" -}}
{{- end -}}
{{- if and (not .Values.persistence.enabled) (not .Values.snapshots.url) -}}
{{- fail "without persistence and without snapshots.url the files of sessions would be lost with their pod" -}}
{{- end -}}
{{- if and (hasPrefix "file:" .Values.snapshots.url) (not .Values.snapshots.existingClaim) -}}
{{- fail "file:///snapshots needs a folder that all nodes share: snapshots.existingClaim" -}}
{{- end -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add 20 .Values.drainGraceSeconds .Values.drainSeconds | int) -}}
{{- fail "terminationGracePeriodSeconds must leave 20 seconds after drainGraceSeconds and drainSeconds" -}}
{{- end -}}
{{- end -}}
