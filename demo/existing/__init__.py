"""An app that cannot change its database first: a till with an outbox, a bank with a table of payments."""
