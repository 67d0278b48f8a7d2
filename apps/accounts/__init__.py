"""Users, workspaces, roles, tokens and the audit log."""
