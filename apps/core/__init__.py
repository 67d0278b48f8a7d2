"""What every app shares: ids, errors, storage, pagination, idempotency, health. Knows no workspace."""
