{{- define "roost.args" -}}
- up
- --host
- 0.0.0.0
- --allow-public
- --advertise
- {{ .Values.advertise | quote }}
{{- with .Values.snapshots.url }}
- --snapshots
- {{ . | quote }}
{{- end }}
{{- if .Values.sharedFolder.existingClaim }}
- --shared-folder
- {{ .Values.sharedFolder.path | quote }}
{{- end }}
{{- if .Values.agents }}
- --agents
- /etc/roost/agents
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "roost.env" -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: ROOST_STORE
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret | default (include "roost.fullname" .) }}
      key: {{ .Values.store.key }}
- name: ROOST_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.token.existingSecret | default (include "roost.fullname" .) }}
      key: {{ .Values.token.key }}
{{- with .Values.snapshots.endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- if hasPrefix "http:" . }}
- name: AWS_ALLOW_HTTP
  value: "true"
{{- end }}
{{- end }}
{{- with .Values.snapshots.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "roost.envFrom" -}}
{{- $secrets := compact (list .Values.modelKeysSecret .Values.snapshots.existingSecret) -}}
{{- if $secrets -}}
{{- range $secrets }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{- define "roost.probes" -}}
startupProbe:
  httpGet:
    path: /live
    port: http
  periodSeconds: 1
  failureThreshold: 120
# Whether the process works. A lost database is no reason to restart it: it comes back by itself.
livenessProbe:
  httpGet:
    path: /live
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
# 503 while it drains or has lost its database.
readinessProbe:
  httpGet:
    path: /health
    port: http
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
lifecycle:
  preStop:
    exec:
      command: [/bin/sh, -c, "roost drain --grace {{ .Values.drainGraceSeconds }} --timeout {{ add .Values.drainGraceSeconds 5 }} || true; sleep {{ .Values.drainSeconds }}"]
{{- end -}}

{{- define "roost.mounts" -}}
- name: home
  mountPath: /var/lib/roost
- name: tmp
  mountPath: /tmp
{{- if .Values.agents }}
- name: agents
  mountPath: /etc/roost/agents
  readOnly: true
{{- end }}
{{- if .Values.snapshots.existingClaim }}
- name: snapshots
  mountPath: /snapshots
{{- end }}
{{- if .Values.sharedFolder.existingClaim }}
- name: shared
  mountPath: {{ .Values.sharedFolder.path | quote }}
{{- end }}
{{- end -}}

{{- define "roost.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if not .Values.persistence.enabled }}
- name: home
  emptyDir: {}
{{- end }}
{{- if .Values.agents }}
- name: agents
  configMap:
    name: {{ include "roost.fullname" . }}-agents
{{- end }}
{{- with .Values.snapshots.existingClaim }}
- name: snapshots
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- with .Values.sharedFolder.existingClaim }}
- name: shared
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- end -}}
