-- One run: a stream built twice and compared, or two finished subjects compared.
CREATE TABLE run (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    stream       TEXT    NOT NULL,
    architecture TEXT    NOT NULL,
    kind         TEXT    NOT NULL,            -- build | compare
    verdict      TEXT    NOT NULL,            -- see Verdict
    started      INTEGER NOT NULL,            -- seconds since 1970-01-01 UTC
    seconds      REAL    NOT NULL DEFAULT 0,  -- duration
    version      TEXT    NOT NULL,            -- of reprofix
    plugins      TEXT    NOT NULL DEFAULT '', -- those in force, comma-separated
    host         TEXT    NOT NULL,
    work         TEXT    NOT NULL DEFAULT '', -- the run's work directory on that host
    token        TEXT    NOT NULL UNIQUE,     -- REPROFIX_RUN in its processes' environment
    epoch        INTEGER,                     -- SOURCE_DATE_EPOCH of the builds
    inputs       TEXT    NOT NULL DEFAULT '', -- SHA-256 over all that should decide the result
    subject_a    TEXT    NOT NULL DEFAULT '',
    subject_b    TEXT    NOT NULL DEFAULT '',
    checksum_a   TEXT,                        -- ostree content checksums
    checksum_b   TEXT,
    variations   TEXT    NOT NULL DEFAULT '', -- those in force, comma-separated
    skipped      TEXT    NOT NULL DEFAULT '', -- JSON: [[variation, why not], …]
    notes        TEXT    NOT NULL DEFAULT '', -- JSON: [text, …]
    detail       TEXT    NOT NULL DEFAULT '', -- one line on what happened
    culprit      TEXT,                        -- smallest set of variations that breaks it
    packages     INTEGER REFERENCES text(id), -- "name version" lines of the first subject
    log          INTEGER REFERENCES text(id)  -- the end of the builds' output
) STRICT;
CREATE INDEX run_by_stream ON run (stream, id);

-- Names that recur in every run: paths, causes, plugins, packages.
CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE difference (
    run     INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,                 -- order in the report
    path    INTEGER NOT NULL REFERENCES name(id),
    kind    INTEGER NOT NULL REFERENCES name(id),
    cause   INTEGER NOT NULL REFERENCES name(id),
    plugin  INTEGER REFERENCES name(id),
    package INTEGER REFERENCES name(id),      -- its name without the version
    text    INTEGER REFERENCES text(id),
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX difference_by_path ON difference (path, run);
CREATE INDEX difference_by_package ON difference (package, run);

-- Large texts, each once, compressed.
CREATE TABLE text (
    id     INTEGER PRIMARY KEY,
    sha256 BLOB    NOT NULL UNIQUE,           -- of the uncompressed bytes
    size   INTEGER NOT NULL,                  -- uncompressed bytes
    zlib   BLOB    NOT NULL                   -- RFC 1950
) STRICT;

-- What each channel (webhook, mail, github) was last told of a stream: a verdict's name, or `flaky`.
-- A message that could not be sent is not here, so it is tried again after the next run.
CREATE TABLE told (
    stream  TEXT    NOT NULL,
    channel TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    run     INTEGER NOT NULL,
    PRIMARY KEY (stream, channel)
) STRICT, WITHOUT ROWID;
