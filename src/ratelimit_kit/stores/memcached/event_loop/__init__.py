"""The async API: connections of event loops, and conversations that are driven by replies."""
