"""Public ids: short, unguessable enough to be a name, never a database key."""

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_id() -> str:
    """A random id of 12 characters (60 bits)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))
