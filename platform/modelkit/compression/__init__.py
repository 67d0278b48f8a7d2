"""One folder per compression method; `modelkit.catalog` finds them."""
