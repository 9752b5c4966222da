"""A custom store: counters in a SQLite file, shared by all processes of one host.

The limits do the arithmetic; a store keeps their states, and makes each decision one transaction.
"""

import contextlib
import json
import sqlite3
import threading
import time

from ratelimit_kit import BaseStore, Scope, Verdict
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.stores import check_charges, check_refunds


class SQLiteStore(BaseStore):
    """Counters in the file `path`; `clock` returns nanoseconds of the epoch."""

    scope = Scope.HOST  # the guard allows several workers
    blocking = True  # the async methods run the sync ones in a thread

    def __init__(self, path, *, clock=time.time_ns):
        self._path = path
        self._clock = clock
        self._local = threading.local()
        self._opened = []
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, expires INTEGER, state TEXT)")
            database.execute("CREATE INDEX IF NOT EXISTS expiry ON counters (expires)")

    def decide(self, charges):
        check_charges(charges)
        with self._transaction() as database:
            now = self._clock() // 1000
            database.execute("DELETE FROM counters WHERE expires < ?", [now])
            states = [self._read(database, charge, now) for charge in charges]
            peeks = [charge.limit.peek(state, now, charge.cost) for charge, state in zip(charges, states, strict=True)]
            if all(peek.fits for peek in peeks):
                for index, charge in enumerate(charges):
                    if charge.cost:
                        state = charge.limit.try_charge(states[index], now, charge.cost)
                        self._write(database, charge, state, now)
                        peeks[index] = charge.limit.peek(state, now, 0)
        return [
            Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset, charged_at=now)
            for charge, peek in zip(charges, peeks, strict=True)
        ]

    def refund(self, charges, charged_at=None):
        check_refunds(charges)
        with self._transaction() as database:
            now = self._clock() // 1000
            for charge in charges:
                state = self._read(database, charge, now)
                self._write(database, charge, charge.limit.refund(state, now, charge.cost, charged_at), now)

    def reset(self, charges):
        with self._transaction() as database:
            for charge in charges:
                self._write(database, charge, None, 0)

    def ping(self):
        with self._transaction():
            pass

    def close(self):
        """Close the connections of all threads; a later call opens new ones."""
        self._local = threading.local()
        while self._opened:
            self._opened.pop().close()

    async def aclose(self):
        """The connections of threads stay until `close`."""

    @contextlib.contextmanager
    def _transaction(self):
        """One writer at a time: BEGIN IMMEDIATE takes the lock before anything is read. Any failure is an outage."""
        try:
            database = self._connection()
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"SQLite gave no decision: {error}") from error

    def _connection(self):
        if not hasattr(self._local, "database"):
            # closed by whichever thread closes the store
            database = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            self._opened.append(database)
            self._local.database = database
        return self._local.database

    def _read(self, database, charge, now):
        row = database.execute("SELECT state FROM counters WHERE name = ?", [_name(charge)]).fetchone()
        if row is None:
            return None
        state = charge.limit.load(json.loads(row[0]))
        rewound = charge.limit.rewind(state, now)
        if rewound is not state:  # the clock was set back
            self._write(database, charge, rewound, now)
        return rewound

    def _write(self, database, charge, state, now):
        """Write a state for as long as it matters, and a minute more for a clock that is corrected."""
        if state is None:
            database.execute("DELETE FROM counters WHERE name = ?", [_name(charge)])
        else:
            expires = now + charge.limit.lifetime(state, now) + 60_000_000
            row = [_name(charge), expires, json.dumps(charge.limit.dump(state))]
            database.execute("REPLACE INTO counters VALUES (?, ?, ?)", row)


def _name(charge):
    return f"{charge.limit.counter} {charge.key}".encode("utf-8", "surrogatepass").hex()
