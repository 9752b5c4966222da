"""Who sends a request: the client's address behind proxies, and the keys that rules count by."""
