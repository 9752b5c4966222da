"""How the calls of an event loop share one connection: queued, batched, sent together, answered in order."""
