"""The Kubernetes API: credentials, list + watch reflector, Binding, pod patches."""
