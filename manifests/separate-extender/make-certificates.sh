#!/bin/sh
# Certificates for mutual TLS between kube-scheduler and the extender, as two Secrets on standard output:
#
#   manifests/separate-extender/make-certificates.sh | kubectl apply -f -
#   kubectl -n carbon-scheduler rollout restart deployment
#
# The authority's key is thrown away: run it again for new certificates, which replace both Secrets at once.
# They are good for DAYS (825). Needs openssl 1.1.1 or newer. Where cert-manager runs, take the component
# cert-manager instead: it renews by itself.
set -eu
umask 077
days=${DAYS:-825}
namespace=carbon-scheduler
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# 1. An authority for these two certificates only.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" \
  -subj /CN=carbon-scheduler-authority -keyout ca.key -out ca.crt 2>openssl.log || { cat openssl.log >&2; exit 1; }

# 2. A key and a certificate of each side: Secret, common name, other names, what it may be used for.
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" \
    -keyout "$1.key" -out "$1.csr" 2>openssl.log || { cat openssl.log >&2; exit 1; }
  printf 'subjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=critical,CA:FALSE\n' "$3" "$4" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "$days" \
    -extfile "$1.ext" -out "$1.crt" 2>openssl.log || { cat openssl.log >&2; exit 1; }
}
service=carbon-scheduler-extender.$namespace.svc
certificate carbon-scheduler-tls carbon-scheduler DNS:carbon-scheduler clientAuth
certificate carbon-scheduler-extender-tls carbon-scheduler-extender \
  "DNS:$service,DNS:$service.cluster.local,DNS:carbon-scheduler-drivers.$namespace.svc" serverAuth

# 3. The Secrets.
encoded() { base64 <"$1" | tr -d '\n'; }
for name in carbon-scheduler-tls carbon-scheduler-extender-tls; do
  cat <<SECRET
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata:
  name: $name
  namespace: $namespace
  labels:
    app.kubernetes.io/part-of: carbon-scheduler
data:
  ca.crt: $(encoded ca.crt)
  tls.crt: $(encoded "$name.crt")
  tls.key: $(encoded "$name.key")
SECRET
done
