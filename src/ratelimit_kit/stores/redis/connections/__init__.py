"""Connections that redis-py has opened and threads call over: the reader of replies, one connection, and their pool."""
