"""Programs that facades run in a sandbox, beside what a client sends. Nothing of the service imports them."""
