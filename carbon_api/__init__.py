"""Carbon-intensity service of carbon-scheduler (speaks HTTP only; shares no code with `extender`)."""
