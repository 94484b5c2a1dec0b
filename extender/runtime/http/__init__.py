"""HTTP servers: TLS, limits of connections."""
