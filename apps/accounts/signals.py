"""What other apps may listen to without accounts knowing them."""

from django.dispatch import Signal

#: Tokens of a workspace were made, revoked or lost their owner: who hands their hashes on must do so again.
tokens_changed = Signal()
