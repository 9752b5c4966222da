"""Counters of one machine: a file in shared memory that its processes read and write, without a server.

`files` finds, opens and locks the file, `shard` keeps the slots of keys in it, `states` the states in those, `counters`
decides on them, `fast_path` does so in most cases, and `store` is what users see.
"""
