"""The grid's carbon intensity, and the policies of time (`start`) and width (`width`) that follow it."""
