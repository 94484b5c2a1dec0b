"""Everything that talks to the outside. Adapters do not import each other; `runtime` joins them."""
