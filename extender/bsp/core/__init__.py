"""Pure part: surfaces, allocations, forecasts, controllers and the simulator. No clock and no I/O."""
