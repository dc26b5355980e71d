"""An SQLite file that is only read: nothing is written to it, and nothing need be writable."""

import sqlite3
from pathlib import Path


def open_to_read(file: Path) -> sqlite3.Connection:
    """Open `file` for reading, in a folder that may be read-only: a copy that is kept, say, or another user's.

    What a write-ahead log beside it holds is seen too.

    Raises:
        sqlite3.Error: It cannot be read, or has a log that cannot be read in a folder where nothing can be written.
    """
    where = f"{file.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(where, uri=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as exc:
        connection.close()
        log = file.with_name(f"{file.name}-wal")
        if not isinstance(exc, sqlite3.OperationalError) or (log.exists() and log.stat().st_size):
            raise
        # To read beside writers SQLite makes an index of the log. Where none can be made and there is no log,
        # nobody writes either.
        return sqlite3.connect(f"{where}&immutable=1", uri=True)
    return connection
