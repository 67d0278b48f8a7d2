"""The home page and the search: what the whole pipeline of a workspace looks like at this moment."""
