#!/bin/sh
# Keys and tokens of the demo's cluster, made once, each in the volume of the one who uses it. Valid for a month.
set -eu
cd /credentials
[ -e apiserver/tokens.csv ] && exit 0
umask 022
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=demo-ca \
  -keyout /tmp/ca.key -out /tmp/ca.crt 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=kube-apiserver \
  -keyout apiserver/server.key -out /tmp/server.csr 2>/dev/null
printf 'subjectAltName=DNS:kube-apiserver,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' > /tmp/names
openssl x509 -req -in /tmp/server.csr -CA /tmp/ca.crt -CAkey /tmp/ca.key -CAcreateserial -days 30 \
  -extfile /tmp/names -out apiserver/server.crt 2>/dev/null
# The key that signs tokens of ServiceAccounts: kube-apiserver and kube-controller-manager share it.
openssl genrsa -out apiserver/accounts.key 2048 2>/dev/null
cp apiserver/accounts.key admin/

# Each identity has the name and the rights that manifests/rbac gives its ServiceAccount.
account() { # volume, ServiceAccount
  token=$(openssl rand -hex 24)
  printf '%s' "$token" > "$1/token"
  echo "$token,system:serviceaccount:carbon-scheduler:$2,$2,\"system:serviceaccounts,system:serviceaccounts:carbon-scheduler,system:authenticated\"" >> /tmp/tokens.csv
  cp /tmp/ca.crt "$1/ca.crt"
}
account extender carbon-scheduler-extender
account scheduler carbon-scheduler
token=$(openssl rand -hex 24)
echo "$token,admin,admin,\"system:masters\"" >> /tmp/tokens.csv
cp /tmp/ca.crt admin/ca.crt
cat > admin/kubeconfig <<C
apiVersion: v1
kind: Config
current-context: demo
contexts: [{name: demo, context: {cluster: demo, user: admin}}]
clusters: [{name: demo, cluster: {server: "https://kube-apiserver:6443", certificate-authority: /credentials/ca.crt}}]
users: [{name: admin, user: {token: $token}}]
C
# openssl makes keys that only root reads.
chmod 0444 apiserver/* admin/*
mv /tmp/tokens.csv apiserver/tokens.csv
