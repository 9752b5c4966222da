"""How many processes serve: `count` is a number of them, `detection` finds it, and `servers` says how this one is served."""
