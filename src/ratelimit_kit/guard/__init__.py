"""The process guard: a store that counts per process is used by one process, or the server does not start.

`workers` finds out how many processes a server runs, and `platforms` what else multiplies them; `declarations` compares that
with what the user says. `siblings` searches for others without a
server's help, by the `socket_locks` that they hold (`claims`) on the addresses where they listen (`listening`), and `forks`
tells helpers from servers. `process_guard` applies the result to one store, `messages` and `announce` report it, and
`abort` ends the server. `checks` has what else is checked at start.
"""
