"""When work may start and how much of it: one file a policy. Pure functions of an outlook and a clock."""
