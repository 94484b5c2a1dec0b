{{/*
The chart reads the kustomizations beside it, so that there is one source for both. These templates do the part
of kustomize that they use: resources, generated ConfigMaps, strategic merge patches by name, JSON patches.
*/}}

{{/* Text of a file, with the release's namespace. Argument: ctx, path. */}}
{{- define "carbon-scheduler.text" -}}
{{- $ns := .ctx.Release.Namespace -}}
{{- $text := .ctx.Files.Get (printf "files/%s" .path) -}}
{{- if not $text }}{{ fail (printf "the chart has no file %s: package it from manifests/chart" .path) }}{{ end -}}
{{- $text
    | replace "namespace: carbon-scheduler\n" (printf "namespace: %s\n" $ns)
    | replace "resourceNamespace: carbon-scheduler\n" (printf "resourceNamespace: %s\n" $ns)
    | replace "serviceaccount:carbon-scheduler:" (printf "serviceaccount:%s:" $ns)
    | replace ".carbon-scheduler.svc" (printf ".%s.svc" $ns)
    | replace "SWITCHES=carbon-scheduler/" (printf "SWITCHES=%s/" $ns) -}}
{{- end -}}

{{/* Folders of the components that the values turn on, as a YAML list. */}}
{{- define "carbon-scheduler.components" -}}
{{- $v := .Values -}}
{{- $on := list -}}
{{- if $v.carbon.enabled }}{{ $on = append $on "carbon" }}{{ end -}}
{{- if ne $v.ledger.kind "none" }}{{ $on = append $on (printf "ledger-%s" $v.ledger.kind) }}{{ end -}}
{{- if $v.capQuota.enabled }}{{ $on = append $on "cap-quota" }}{{ end -}}
{{- if $v.namespaces }}{{ $on = append $on "namespaced-rights" }}{{ end -}}
{{- if $v.powerFromPrometheus.enabled }}{{ $on = append $on "power-from-prometheus" }}{{ end -}}
{{- if $v.driverAgent.enabled }}{{ $on = append $on "driver-agent" }}{{ end -}}
{{- if $v.driverRest.enabled }}{{ $on = append $on "driver-rest" }}{{ end -}}
{{- if $v.holdGate.enabled }}{{ $on = append $on "hold-gate" }}{{ end -}}
{{- if $v.monitoring.enabled }}{{ $on = append $on "monitoring" }}{{ end -}}
{{- if $v.certManager.enabled }}{{ $on = append $on "cert-manager" }}{{ end -}}
{{- toYaml $on -}}
{{- end -}}

{{/* Whether a patch's target is this object: "yes" or nothing. Arguments: target, object. */}}
{{- define "carbon-scheduler.targets" -}}
{{- $meta := .object.metadata -}}
{{- $named := or (not .target.name) (regexMatch (printf "^(%s)$" .target.name) $meta.name) -}}
{{- $labelled := true -}}
{{- if .target.labelSelector -}}
{{- $pair := splitList "=" .target.labelSelector -}}
{{- $labelled = eq (index $pair 1) (get (default dict $meta.labels) (index $pair 0)) -}}
{{- end -}}
{{- if and (eq .object.kind .target.kind) $named $labelled }}yes{{ end -}}
{{- end -}}

{{/* Changes `object` by a JSON patch. Of its operations these files use three. Arguments: object, operations. */}}
{{- define "carbon-scheduler.json-patch" -}}
{{- $object := .object -}}
{{- range .operations -}}
{{- if and (eq .op "replace") (eq .path "/subjects") -}}
{{- $_ := set $object "subjects" .value -}}
{{- else if and (eq .op "replace") (eq .path "/subjects/0/name") -}}
{{- $_ := set (index $object.subjects 0) "name" .value -}}
{{- else -}}
{{- fail (printf "the chart cannot %s %s" .op .path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Merges maps; null takes a key away. Arguments: into, from. */}}
{{- define "carbon-scheduler.merge-map" -}}
{{- $into := .into -}}
{{- range $key, $value := .from -}}
{{- if kindIs "invalid" $value }}{{ $_ := unset $into $key }}{{ else }}{{ $_ := set $into $key $value }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Changes the list `key` of `into` by the items of `items`, found by their names. Arguments: into, key, items. */}}
{{- define "carbon-scheduler.merge-list" -}}
{{- $into := .into -}}
{{- $key := .key -}}
{{- range $item := .items -}}
{{- $kept := list -}}
{{- $found := false -}}
{{- range $old := default list (get $into $key) -}}
{{- if ne $old.name $item.name -}}
{{- $kept = append $kept $old -}}
{{- else if ne (get $item "$patch") "delete" -}}
{{- $found = true -}}
{{- range $part, $value := $item -}}
{{- if has $part (list "env" "volumeMounts") -}}
{{- include "carbon-scheduler.merge-list" (dict "into" $old "key" $part "items" $value) -}}
{{- else -}}
{{- $_ := set $old $part $value -}}
{{- end -}}
{{- end -}}
{{- $kept = append $kept $old -}}
{{- end -}}
{{- end -}}
{{- if and (not $found) (ne (get $item "$patch") "delete") }}{{ $kept = append $kept $item }}{{ end -}}
{{- if $kept }}{{ $_ := set $into $key $kept }}{{ else }}{{ $_ := unset $into $key }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Changes a Deployment by a strategic merge patch. Arguments: object, patch. */}}
{{- define "carbon-scheduler.strategic" -}}
{{- $object := .object -}}
{{- $spec := .patch.spec -}}
{{- with .patch.metadata.labels }}{{ include "carbon-scheduler.merge-map" (dict "into" $object.metadata.labels "from" .) }}{{ end -}}
{{- if $spec.replicas }}{{ $_ := set $object.spec "replicas" $spec.replicas }}{{ end -}}
{{- if $spec.strategy }}{{ $_ := set $object.spec "strategy" (dict "type" $spec.strategy.type) }}{{ end -}}
{{- $template := $object.spec.template -}}
{{- with $spec.template.metadata -}}
{{- with .labels }}{{ include "carbon-scheduler.merge-map" (dict "into" $template.metadata.labels "from" .) }}{{ end -}}
{{- with .annotations }}{{ include "carbon-scheduler.merge-map" (dict "into" $template.metadata.annotations "from" .) }}{{ end -}}
{{- end -}}
{{- range $key, $value := $spec.template.spec -}}
{{- if has $key (list "initContainers" "containers" "volumes") -}}
{{- include "carbon-scheduler.merge-list" (dict "into" $template.spec "key" $key "items" $value) -}}
{{- else -}}
{{- $_ := set $template.spec $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
