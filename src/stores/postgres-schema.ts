/** The tables of the PostgreSQL store, as the first migration makes them. */

/**
 * The statements that make the tables in a schema.
 *
 * - Ids, keys and values are `bytea`: they compare by their bytes and may hold NUL. Times are epoch milliseconds.
 * - A commit changes a head's row only where no index looks, so that PostgreSQL can put the new version into the same page (HOT):
 *   `due` is a lower bound that is moved when it is reached, and the order of last writes has a narrow table of its own.
 * - What a commit replaces moves to `past`, and its value with it, if that is short. A long one lies in `large`, is written once,
 *   and only its number moves.
 * @param s the schema, quoted
 */
export function tables(s: string): string {
  return `
CREATE TABLE ${s}.head (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  revision bigint NOT NULL,
  born bigint NOT NULL,
  -- The oldest event that is there; readers also leave out what is beyond their number of commits.
  oldest bigint NOT NULL,
  expired_revision bigint NOT NULL,
  metadata_revision bigint NOT NULL,
  update_time bigint NOT NULL,
  active_time bigint NOT NULL,
  entries bigint NOT NULL,
  bytes bigint NOT NULL,
  -- No entry expires before; null: none ever does.
  entry_due bigint,
  -- The sweeper has nothing to do before; null: it never has.
  due bigint,
  create_time bigint,
  expire_time bigint,
  idle_ttl bigint,
  forked_revision bigint,
  live boolean NOT NULL,
  namespace bytea NOT NULL,
  session_id bytea NOT NULL,
  workflow_id bytea,
  user_id bytea,
  forked_id bytea,
  label_names bytea[],
  label_values bytea[],
  -- By what it is listed in the order of last writes: the namespace, workflow, user, each label (see facet_of).
  facets bigint[] NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX head_session ON ${s}.head (namespace, session_id);
CREATE INDEX head_live ON ${s}.head (namespace, session_id) WHERE live;
CREATE INDEX head_due ON ${s}.head (due) WHERE due IS NOT NULL;

-- Live sessions by workflow, user and label in the order of their ids.
CREATE TABLE ${s}.facet (
  facet bigint NOT NULL,
  session bigint NOT NULL,
  session_id bytea NOT NULL,
  PRIMARY KEY (facet, session_id, session)
);
-- The same, and all of a namespace, in the order of last writes. Found by its own columns only, so one index is enough.
CREATE TABLE ${s}.activity (
  facet bigint NOT NULL,
  session bigint NOT NULL,
  update_time bigint NOT NULL,
  session_id bytea NOT NULL
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX activity_time ON ${s}.activity (facet, update_time DESC, session_id, session);

CREATE TABLE ${s}.entry (
  session bigint NOT NULL,
  revision bigint NOT NULL,
  update_time bigint NOT NULL,
  expire_time bigint,
  large bigint,
  size integer NOT NULL,
  key bytea NOT NULL,
  value bytea,
  PRIMARY KEY (session, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX entry_expiry ON ${s}.entry (session, expire_time) WHERE expire_time IS NOT NULL;

-- Versions of entries that a commit replaced or removed: readable from \`revision\` to before \`ended\`.
CREATE TABLE ${s}.past (
  session bigint NOT NULL,
  revision bigint NOT NULL,
  ended bigint NOT NULL,
  update_time bigint NOT NULL,
  expire_time bigint,
  large bigint,
  size integer NOT NULL,
  key bytea NOT NULL,
  value bytea,
  PRIMARY KEY (session, key, revision)
);
-- Short values stay in their row, whatever they look like; long ones are neither compressed nor copied.
ALTER TABLE ${s}.entry ALTER value SET STORAGE PLAIN;
ALTER TABLE ${s}.past ALTER value SET STORAGE PLAIN;
CREATE TABLE ${s}.large (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  value bytea NOT NULL
);
ALTER TABLE ${s}.large ALTER value SET STORAGE EXTERNAL;

-- Metadata that a commit replaced or ended; it stood until before \`ended\`.
CREATE TABLE ${s}.earlier (
  session bigint NOT NULL,
  ended bigint NOT NULL,
  create_time bigint,
  expire_time bigint,
  idle_ttl bigint,
  forked_revision bigint,
  workflow_id bytea,
  user_id bytea,
  forked_id bytea,
  label_names bytea[],
  label_values bytea[],
  PRIMARY KEY (session, ended)
);

-- The log. \`xid\` lets the feed read what became visible between two snapshots; what was put in by moving has none.
CREATE TABLE ${s}.event (
  session bigint NOT NULL,
  revision bigint NOT NULL,
  time bigint NOT NULL,
  expire_time bigint,
  size bigint NOT NULL,
  xid xid8,
  kind smallint NOT NULL,
  ended boolean NOT NULL,
  request_id bytea,
  keys bytea[] NOT NULL,
  removed bigint[],
  PRIMARY KEY (session, revision)
);
CREATE INDEX event_xid ON ${s}.event (xid) WHERE xid IS NOT NULL;
-- The newest transaction among events that were dropped together: who has not read that far has lost some.
CREATE TABLE ${s}.trimmed (
  xid xid8 NOT NULL,
  at bigint NOT NULL
);
CREATE INDEX trimmed_xid ON ${s}.trimmed (xid);

CREATE TABLE ${s}.request (
  session bigint NOT NULL,
  time bigint NOT NULL,
  revision bigint NOT NULL,
  update_time bigint,
  wrote boolean NOT NULL,
  request_id bytea NOT NULL,
  fingerprint bytea NOT NULL,
  kept bytea,
  PRIMARY KEY (session, request_id)
);
CREATE INDEX request_time ON ${s}.request (time);

-- The highest revision of any forgotten session.
CREATE TABLE ${s}.namespace (
  name bytea PRIMARY KEY,
  floor bigint NOT NULL
);
-- Programs that listen for hints, until when by this server's clock.
CREATE TABLE ${s}.listener (
  id text PRIMARY KEY,
  until bigint NOT NULL
);
`;
}
