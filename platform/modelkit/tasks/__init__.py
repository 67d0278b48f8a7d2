"""One folder per task; `modelkit.catalog` finds them."""
