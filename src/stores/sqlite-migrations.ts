/** The layout of a SQLite file, as the numbered steps that made it. A step that was released is never changed. */

/** One step of the layout. */
export interface Migration {
  /** The file's `user_version` after it. */
  readonly version: number;
  readonly sql: string;
}

/** Marks a file as one of this project's (`PRAGMA application_id`): "aTwS". */
export const APPLICATION_ID = 0x61547753;

/**
 * All steps in order. Ids, keys and labels are blobs of UTF-8, which SQLite orders as the contract does, NUL included. Times
 * are epoch milliseconds.
 */
export const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: `
-- floor: the highest revision of any session of the namespace that was forgotten.
CREATE TABLE namespace (
  id INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  floor INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A session by a number, so that the rows that belong to it are small. metadata is JSON; NULL: there is no session now.
-- recency is the time of the last commit, negated, so that one ascending index gives the last written first, and by id where
-- that is the same. oldest is the first revision whose event and values are still stored, oldest_time that event's time.
-- next_due is never later than the first deadline of the session or its entries. A negative namespace: being loaded.
CREATE TABLE head (
  session INTEGER PRIMARY KEY,
  namespace INTEGER NOT NULL,
  id BLOB NOT NULL,
  revision INTEGER NOT NULL,
  born INTEGER NOT NULL,
  oldest INTEGER NOT NULL,
  oldest_time INTEGER,
  expired_revision INTEGER NOT NULL,
  metadata_revision INTEGER NOT NULL,
  metadata TEXT,
  workflow_id BLOB,
  user_id BLOB,
  labels INTEGER NOT NULL,
  expire_time INTEGER,
  idle_ttl_ms INTEGER,
  recency INTEGER NOT NULL,
  active_time INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  next_due INTEGER
) STRICT;
CREATE UNIQUE INDEX head_id ON head (namespace, id);
CREATE INDEX head_live ON head (namespace, id) WHERE metadata IS NOT NULL;
CREATE INDEX head_recent ON head (namespace, recency, id) WHERE metadata IS NOT NULL;
CREATE INDEX head_workflow ON head (namespace, workflow_id, id)
  WHERE metadata IS NOT NULL AND workflow_id IS NOT NULL;
CREATE INDEX head_workflow_recent ON head (namespace, workflow_id, recency, id)
  WHERE metadata IS NOT NULL AND workflow_id IS NOT NULL;
CREATE INDEX head_user ON head (namespace, user_id, id) WHERE metadata IS NOT NULL AND user_id IS NOT NULL;
CREATE INDEX head_user_recent ON head (namespace, user_id, recency, id)
  WHERE metadata IS NOT NULL AND user_id IS NOT NULL;
CREATE INDEX head_due ON head (next_due) WHERE next_due IS NOT NULL;
CREATE INDEX head_oldest ON head (oldest_time) WHERE oldest_time IS NOT NULL;

-- The labels of sessions that there are now.
CREATE TABLE label (
  namespace INTEGER NOT NULL,
  name BLOB NOT NULL,
  value BLOB NOT NULL,
  id BLOB NOT NULL,
  session INTEGER NOT NULL,
  recency INTEGER NOT NULL,
  PRIMARY KEY (namespace, name, value, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_recent ON label (namespace, name, value, recency, id, session);

-- The live entries. value: the bytes, or the number of a row of large, where they would not fit in a page beside others.
-- size: bytes of key and value.
CREATE TABLE entry (
  session INTEGER NOT NULL,
  key BLOB NOT NULL,
  revision INTEGER NOT NULL,
  size INTEGER NOT NULL,
  update_time INTEGER NOT NULL,
  expire_time INTEGER,
  value ANY NOT NULL,
  PRIMARY KEY (session, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_expiring ON entry (session, expire_time) WHERE expire_time IS NOT NULL;

-- Versions of entries that the commit of revision "ended" replaced or removed.
CREATE TABLE past (
  session INTEGER NOT NULL,
  key BLOB NOT NULL,
  ended INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  size INTEGER NOT NULL,
  update_time INTEGER NOT NULL,
  expire_time INTEGER,
  value ANY NOT NULL,
  PRIMARY KEY (session, key, ended)
) STRICT, WITHOUT ROWID;

-- A large value stays where it is while its version goes from entry to past.
CREATE TABLE large (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TRIGGER past_large AFTER DELETE ON past WHEN typeof(old.value) = 'integer' BEGIN
  DELETE FROM large WHERE id = old.value;
END;

-- Commits in the order in which they were made: seq has no gaps but those of events that are no longer kept, and none of its
-- numbers comes twice. Below 0 are those that came with a session that was loaded, which are no news. keys: a JSON list of "+key" (written) and "-key" (removed). metadata: JSON; NULL: as that of the
-- session's event before, never in the oldest that is stored; of a commit that ended the session the last before.
CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  time INTEGER NOT NULL,
  expire_time INTEGER,
  request_id BLOB,
  keys TEXT NOT NULL,
  metadata TEXT
) STRICT;
CREATE UNIQUE INDEX event_revision ON event (session, revision);

-- Answers by request id. time: when they were given. revision 0: there was no session then.
CREATE TABLE request (
  session INTEGER NOT NULL,
  id BLOB NOT NULL,
  time INTEGER NOT NULL,
  fingerprint TEXT NOT NULL,
  revision INTEGER NOT NULL,
  update_time INTEGER,
  wrote INTEGER NOT NULL,
  kept BLOB,
  PRIMARY KEY (session, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_time ON request (time);
`,
  },
];
