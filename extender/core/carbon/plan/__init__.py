"""Plans over the forecast: how wide one elastic application runs in each slot (`elastic`, `baselines`)."""
