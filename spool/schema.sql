-- The index: what is in the spool, and what has happened to it. docs/on-disk-format.md explains it.
CREATE TABLE streams (
    stream_key           INTEGER PRIMARY KEY,
    stream_id            TEXT NOT NULL UNIQUE,
    name                 TEXT NOT NULL,
    destination          TEXT NOT NULL,
    settings             TEXT NOT NULL,              -- JSON of StreamSettings
    state                TEXT NOT NULL CHECK (state IN ('open', 'sealed', 'finalized')),
    height               INTEGER,
    width                INTEGER,
    next_chunk_idx       INTEGER NOT NULL DEFAULT 0,
    last_spooled_at_ms   INTEGER,                    -- the latest of its chunks'
    watermark            INTEGER NOT NULL DEFAULT -1,
    created_at_ms        INTEGER NOT NULL,
    created_monotonic_ms INTEGER,
    boot_id              TEXT,
    sealed_at_ms         INTEGER,
    finalized_at_ms      INTEGER,
    unlinked             TEXT,                       -- why the latest part lacks its links
    held                 TEXT,
    trouble              TEXT,
    clock_offset_ms      REAL,
    clock_uncertainty_ms REAL,
    lease_owner          TEXT,
    lease_until_ms       INTEGER,
    lease_token          INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The destination's streams that take, or took, the chunks of one of ours.
CREATE TABLE parts (
    stream_key           INTEGER NOT NULL REFERENCES streams (stream_key),
    number               INTEGER NOT NULL CHECK (number >= 1),
    data_id              TEXT UNIQUE,                -- NULL until the destination's answer is recorded
    name                 TEXT NOT NULL,
    is_name_free         INTEGER NOT NULL CHECK (is_name_free IN (0, 1)),
    asked_at_ms          INTEGER NOT NULL,
    opened_at_ms         INTEGER,
    closed_at_ms         INTEGER,
    closed_why           TEXT,
    PRIMARY KEY (stream_key, number)
) STRICT, WITHOUT ROWID;

-- The reference clock against this host's two clocks.
CREATE TABLE clock_readings (
    stream_key           INTEGER NOT NULL REFERENCES streams (stream_key),
    number               INTEGER NOT NULL CHECK (number >= 1),
    at_ms                INTEGER NOT NULL,
    monotonic_ms         INTEGER,
    boot_id              TEXT,
    offset_ms            REAL NOT NULL,
    uncertainty_ms       REAL NOT NULL,
    PRIMARY KEY (stream_key, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE chunks (
    stream_key           INTEGER NOT NULL REFERENCES streams (stream_key),
    chunk_idx            INTEGER NOT NULL CHECK (chunk_idx >= 0),
    state                TEXT NOT NULL CHECK (state IN ('spooled', 'acknowledged', 'parked', 'discarded')),
    n                    INTEGER NOT NULL,
    wire_bytes           INTEGER NOT NULL,
    sha256               TEXT NOT NULL,
    disk_bytes           INTEGER NOT NULL,           -- 0 once pruned or discarded
    capture_start_ms_utc INTEGER NOT NULL,
    monotonic_ms         INTEGER,
    boot_id              TEXT,
    spooled_at_ms        INTEGER NOT NULL,
    attempts             INTEGER NOT NULL DEFAULT 0,
    acknowledged_at_ms   INTEGER,
    receipt              TEXT,                       -- JSON of Receipt
    parked_reason        TEXT,
    pruned_at_ms         INTEGER,
    capture              TEXT,                       -- JSON of Capture
    PRIMARY KEY (stream_key, chunk_idx)
) STRICT, WITHOUT ROWID;

CREATE INDEX chunks_waiting ON chunks (stream_key, chunk_idx) WHERE state = 'spooled';
CREATE INDEX chunks_parked ON chunks (stream_key, chunk_idx) WHERE state = 'parked';
CREATE INDEX chunks_prunable ON chunks (acknowledged_at_ms) WHERE state = 'acknowledged' AND disk_bytes > 0;

-- Counts per state, kept by the triggers below so that no question about totals reads a million rows.
CREATE TABLE tally (
    stream_key INTEGER NOT NULL,
    state      TEXT NOT NULL,
    chunks     INTEGER NOT NULL,
    wire_bytes INTEGER NOT NULL,
    disk_bytes INTEGER NOT NULL,
    PRIMARY KEY (stream_key, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER chunk_enters AFTER INSERT ON chunks BEGIN
    INSERT INTO tally VALUES (new.stream_key, new.state, 1, new.wire_bytes, new.disk_bytes)
    ON CONFLICT DO UPDATE SET chunks = chunks + 1, wire_bytes = wire_bytes + excluded.wire_bytes,
                              disk_bytes = disk_bytes + excluded.disk_bytes;
END;
CREATE TRIGGER chunk_moves AFTER UPDATE OF state, disk_bytes ON chunks BEGIN
    UPDATE tally SET chunks = chunks - 1, wire_bytes = wire_bytes - old.wire_bytes,
                     disk_bytes = disk_bytes - old.disk_bytes
     WHERE stream_key = old.stream_key AND state = old.state;
    INSERT INTO tally VALUES (new.stream_key, new.state, 1, new.wire_bytes, new.disk_bytes)
    ON CONFLICT DO UPDATE SET chunks = chunks + 1, wire_bytes = wire_bytes + excluded.wire_bytes,
                              disk_bytes = disk_bytes + excluded.disk_bytes;
END;
CREATE TRIGGER chunks_stay BEFORE DELETE ON chunks BEGIN
    SELECT RAISE(ABORT, 'index rows are never deleted');
END;

CREATE TABLE ledger (
    seq       INTEGER PRIMARY KEY,
    at_ms     INTEGER NOT NULL,
    stream_id TEXT,
    chunk_idx INTEGER,
    event     TEXT NOT NULL,
    detail    TEXT NOT NULL,
    previous  BLOB NOT NULL,
    digest    BLOB NOT NULL
) STRICT;
-- By seq within a chunk, and within what is of no chunk: the one index serves both.
CREATE INDEX ledger_by_chunk ON ledger (stream_id, chunk_idx);
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER ledger_stays BEFORE DELETE ON ledger BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
