"""One module per serving back end; each is a `modelkit.contracts.ServingBackend`."""
