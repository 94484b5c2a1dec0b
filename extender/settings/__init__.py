"""Every option of the service, in groups."""
