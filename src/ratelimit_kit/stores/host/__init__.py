"""Counters of one machine: a file in shared memory that its processes read and write, without a server.

`place` finds the file, `layout` says what is where in it, `file` opens and locks it, `slots` keeps states in it,
`counters` decides on them, and `store` is what users see.
"""
