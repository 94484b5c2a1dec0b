"""The interfaces: our own, and those of systems whose clients exist. One file each, over the same zones."""
