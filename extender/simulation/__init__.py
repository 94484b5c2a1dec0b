"""A virtual cluster that drives the same core over the same webhooks."""
