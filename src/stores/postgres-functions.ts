/**
 * The functions of the PostgreSQL store that write, as the first migration makes them. A plan is one call of one of them, so it
 * is one round trip, and the statements inside keep their plans for as long as the server's process lives, without a prepared
 * statement that a connection pooler would have to know of.
 */

/**
 * How functions run. Their statements' plans are made while tables are small and kept while these grow, so they must go by the
 * indexes from the beginning. A lock is waited for shorter than a call may take, so that its end is known and not only lost.
 */
export const SETTINGS: string =
  "SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off SET lock_timeout = '5s'";

/**
 * The statements that make the functions. Everywhere `p_settings` is: commits kept, how long (ms), how long answers are kept (ms),
 * most entries, most bytes, and the time, if it is not the server's.
 * @param s the schema, quoted
 */
export function writeFunctions(s: string): string {
  return `
CREATE FUNCTION ${s}.now_ms(p_settings bigint[]) RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(p_settings[6], floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
$$;

-- 64 bits that stand for "the session has this workflow", and so on. What is found by them is compared itself afterwards.
-- Kinds: 0 all, 1 workflow, 2 user, 3 label.
CREATE FUNCTION ${s}.facet_of(p_kind integer, p_namespace bytea, p_name bytea, p_value bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ('x' || encode(substring(sha256(int4send(p_kind) || int4send(octet_length(p_namespace)) || p_namespace
    || int4send(octet_length(p_name)) || p_name || p_value) FROM 1 FOR 8), 'hex'))::bit(64)::bigint
$$;

-- Drops events before a revision, and the past that only they could see.
CREATE FUNCTION ${s}.trim(p_session bigint, p_oldest bigint) RETURNS void LANGUAGE plpgsql ${SETTINGS} AS $$
BEGIN
  WITH gone AS (DELETE FROM ${s}.event WHERE session = p_session AND revision < p_oldest RETURNING xid)
  INSERT INTO ${s}.trimmed (xid, at)
  SELECT xid, ${s}.now_ms(NULL) FROM gone WHERE xid IS NOT NULL ORDER BY xid DESC LIMIT 1;
  WITH gone AS (DELETE FROM ${s}.past WHERE session = p_session AND ended <= p_oldest RETURNING large)
  DELETE FROM ${s}.large WHERE id IN (SELECT large FROM gone WHERE large IS NOT NULL);
  DELETE FROM ${s}.earlier WHERE session = p_session AND ended < p_oldest;
END $$;

-- Keeps the metadata that a head has as what stood until before a revision.
CREATE FUNCTION ${s}.keep_metadata(h ${s}.head, p_ended bigint) RETURNS void LANGUAGE sql VOLATILE AS $$
  INSERT INTO ${s}.earlier (session, ended, create_time, expire_time, idle_ttl, forked_revision, workflow_id, user_id,
    forked_id, label_names, label_values)
  VALUES (h.id, p_ended, h.create_time, h.expire_time, h.idle_ttl, h.forked_revision, h.workflow_id, h.user_id,
    h.forked_id, h.label_names, h.label_values)
$$;

-- Lists a head under what its metadata says, and no longer under what the row said that had these facets and this time.
CREATE FUNCTION ${s}.relist(h ${s}.head, p_facets bigint[], p_time bigint) RETURNS bigint[] LANGUAGE plpgsql ${SETTINGS} AS $$
DECLARE
  v_all bigint := ${s}.facet_of(0, h.namespace, '', '');
  v_facets bigint[] := '{}';
BEGIN
  IF h.live THEN
    v_facets := ARRAY(
      SELECT DISTINCT f FROM (
        SELECT v_all
        UNION ALL SELECT ${s}.facet_of(1, h.namespace, '', h.workflow_id) WHERE h.workflow_id IS NOT NULL
        UNION ALL SELECT ${s}.facet_of(2, h.namespace, '', h.user_id) WHERE h.user_id IS NOT NULL
        UNION ALL SELECT ${s}.facet_of(3, h.namespace, l.name, l.value) FROM unnest(h.label_names, h.label_values) l(name, value)
      ) x(f) ORDER BY f);
  END IF;
  DELETE FROM ${s}.activity
    WHERE facet = ANY (p_facets) AND update_time = p_time AND session_id = h.session_id AND session = h.id;
  INSERT INTO ${s}.activity (facet, session, update_time, session_id)
    SELECT f, h.id, h.update_time, h.session_id FROM unnest(v_facets) f;
  IF v_facets <> p_facets THEN
    DELETE FROM ${s}.facet
      WHERE facet = ANY (p_facets) AND facet <> ALL (v_facets) AND session_id = h.session_id AND session = h.id;
    INSERT INTO ${s}.facet (facet, session, session_id)
      SELECT f, h.id, h.session_id FROM unnest(v_facets) f WHERE f <> v_all AND f <> ALL (p_facets);
  END IF;
  RETURN v_facets;
END $$;

CREATE FUNCTION ${s}.put_head(h ${s}.head) RETURNS void LANGUAGE sql VOLATILE AS $$
  UPDATE ${s}.head x SET revision = h.revision, oldest = h.oldest, expired_revision = h.expired_revision,
    metadata_revision = h.metadata_revision, update_time = h.update_time, active_time = h.active_time, entries = h.entries,
    bytes = h.bytes, entry_due = h.entry_due, due = h.due, create_time = h.create_time, expire_time = h.expire_time,
    idle_ttl = h.idle_ttl, forked_revision = h.forked_revision, live = h.live, workflow_id = h.workflow_id,
    user_id = h.user_id, forked_id = h.forked_id, label_names = h.label_names, label_values = h.label_values,
    facets = h.facets, born = h.born
  WHERE x.id = h.id
$$;

-- What is beyond the number of commits goes, now and then. Gives the oldest that is there.
CREATE FUNCTION ${s}.trim_by_count(h ${s}.head, p_history bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  IF h.revision - h.oldest + 1 <= p_history + greatest(8, p_history / 4) THEN
    RETURN h.oldest;
  END IF;
  PERFORM ${s}.trim(h.id, h.revision - p_history + 1);
  RETURN h.revision - p_history + 1;
END $$;

-- Ends a live session whose row is locked. Gives the head as it is then, saved.
CREATE FUNCTION ${s}.end_session(h ${s}.head, p_kind integer, p_time bigint, p_request bytea, p_settings bigint[])
RETURNS ${s}.head LANGUAGE plpgsql ${SETTINGS} AS $$
DECLARE
  v_revision bigint := h.revision + 1;
  v_before bigint := h.update_time;
BEGIN
  INSERT INTO ${s}.past (session, key, revision, ended, update_time, expire_time, size, large, value)
    SELECT session, key, revision, v_revision, update_time, expire_time, size, large, value
    FROM ${s}.entry WHERE session = h.id;
  DELETE FROM ${s}.entry WHERE session = h.id;
  PERFORM ${s}.keep_metadata(h, v_revision);
  INSERT INTO ${s}.event (session, revision, time, expire_time, size, xid, kind, ended, request_id, keys)
    VALUES (h.id, v_revision, p_time, NULL, 0, pg_current_xact_id(), p_kind, true, p_request, '{}');
  h.revision := v_revision;
  h.metadata_revision := v_revision;
  h.update_time := p_time;
  h.live := false;
  h.entries := 0;
  h.bytes := 0;
  h.entry_due := NULL;
  h.create_time := NULL;
  h.expire_time := NULL;
  h.idle_ttl := NULL;
  h.forked_revision := NULL;
  h.workflow_id := NULL;
  h.user_id := NULL;
  h.forked_id := NULL;
  h.label_names := NULL;
  h.label_values := NULL;
  IF p_kind = 3 THEN
    h.expired_revision := v_revision;
  ELSE
    h.active_time := p_time;
  END IF;
  h.due := least(h.due, p_time + p_settings[2]);
  h.facets := ${s}.relist(h, h.facets, v_before);
  h.oldest := ${s}.trim_by_count(h, p_settings[1]);
  PERFORM ${s}.put_head(h);
  RETURN h;
END $$;

-- Does what is due by now for a session whose row is locked. Gives the head as it is then, saved.
CREATE FUNCTION ${s}.do_due(h ${s}.head, p_now bigint, p_settings bigint[]) RETURNS ${s}.head LANGUAGE plpgsql ${SETTINGS} AS $$
DECLARE
  v_time bigint := greatest(p_now, h.update_time);
  v_before bigint := h.update_time;
  v_keys bytea[];
  v_bytes bigint;
BEGIN
  IF NOT h.live THEN
    RETURN h;
  END IF;
  IF least(h.expire_time, h.active_time + h.idle_ttl) <= p_now THEN
    RETURN ${s}.end_session(h, 3, v_time, NULL, p_settings);
  END IF;
  IF h.entry_due IS NULL OR h.entry_due > p_now THEN
    RETURN h;
  END IF;
  SELECT array_agg(key ORDER BY expire_time, key), sum(octet_length(key) + size) INTO v_keys, v_bytes
    FROM ${s}.entry WHERE session = h.id AND expire_time <= p_now;
  IF v_keys IS NOT NULL THEN
    h.revision := h.revision + 1;
    INSERT INTO ${s}.past (session, key, revision, ended, update_time, expire_time, size, large, value)
      SELECT session, key, revision, h.revision, update_time, expire_time, size, large, value
      FROM ${s}.entry WHERE session = h.id AND expire_time <= p_now;
    DELETE FROM ${s}.entry WHERE session = h.id AND expire_time <= p_now;
    h.update_time := v_time;
    h.entries := h.entries - cardinality(v_keys);
    h.bytes := h.bytes - v_bytes;
    INSERT INTO ${s}.event (session, revision, time, expire_time, size, xid, kind, ended, request_id, keys, removed)
      VALUES (h.id, h.revision, v_time, least(h.expire_time, h.active_time + h.idle_ttl),
        (SELECT sum(octet_length(k)) FROM unnest(v_keys) k), pg_current_xact_id(), 3, false, NULL, v_keys,
        ARRAY(SELECT generate_subscripts(v_keys, 1)));
    h.due := least(h.due, v_time + p_settings[2]);
    h.facets := ${s}.relist(h, h.facets, v_before);
    h.oldest := ${s}.trim_by_count(h, p_settings[1]);
  END IF;
  h.entry_due := (SELECT min(expire_time) FROM ${s}.entry WHERE session = h.id AND expire_time IS NOT NULL);
  PERFORM ${s}.put_head(h);
  RETURN h;
END $$;

-- Does what is due for a session. Gives the time that it went by, and whether it wrote.
CREATE FUNCTION ${s}.expire(p_settings bigint[], p_namespace bytea, p_session bytea, OUT p_now bigint, OUT p_wrote boolean)
LANGUAGE plpgsql ${SETTINGS} AS $$
DECLARE
  h ${s}.head;
  v_revision bigint;
BEGIN
  p_wrote := false;
  SELECT * INTO h FROM ${s}.head x WHERE x.namespace = p_namespace AND x.session_id = p_session FOR UPDATE;
  p_now := ${s}.now_ms(p_settings);
  IF FOUND THEN
    v_revision := h.revision;
    h := ${s}.do_due(h, p_now, p_settings);
    p_wrote := h.revision <> v_revision;
  END IF;
END $$;

-- What a plan that wrote nothing came to. That a row was locked need not be synced.
CREATE FUNCTION ${s}.unwritten(p_due boolean, VARIADIC p_words text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF NOT p_due THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  END IF;
  RETURN array_to_string(ARRAY[p_words[1], p_due::text] || p_words[2:], ' ');
END $$;

-- One atomic commit; see PlanStep. Parameters are NULL where there is nothing.
--   p_conditions: the session's revision for the caller; the head's revision and metadata revision for the store
--   p_values: NULL removes; p_large: positions of values for the table of large ones; p_sets: number and bytes of sets
--   p_always: positions of removals that count although the key may be absent
--   p_metadata: {0} ends the session; {1, createTime, forked revision, ttl, expireTime, idle ttl} with p_texts
--   p_texts: workflow, user, forked id, names of labels, their values
-- Gives words: what became of it; whether anything was committed; facts. An answer's are the revision, the update time or, where
-- there is no session, the answer's own time negated, whether it wrote, and what was kept.
CREATE FUNCTION ${s}.plan(
  p_settings bigint[], p_namespace bytea, p_session bytea, p_kind integer, p_time bigint,
  p_request bytea, p_fingerprint bytea, p_kept bytea,
  p_conditions bigint[], p_guard_keys bytea[], p_guard_revisions bigint[], p_check_keys bytea[], p_check_revisions bigint[],
  p_keys bytea[], p_values bytea[], p_large bigint[], p_sets bigint[], p_ttls bigint[], p_expires bigint[], p_always bigint[],
  p_metadata bigint[], p_texts bytea[]
) RETURNS text LANGUAGE plpgsql ${SETTINGS} AS $$
DECLARE
  h ${s}.head;
  r ${s}.request;
  v_known boolean;
  v_now bigint;
  v_time bigint;
  v_due boolean;
  v_before bigint;
  v_removes boolean := p_keys IS NOT NULL AND cardinality(p_keys) > p_sets[1];
  v_failed text;
  v_old_count bigint := 0;
  v_old_bytes bigint := 0;
  v_entries bigint;
  v_bytes bigint;
  v_keys bytea[];
  v_removed bigint[];
  v_large bigint[];
  v_labels integer;
  v_at bigint;
BEGIN
  LOOP
    SELECT * INTO h FROM ${s}.head x WHERE x.namespace = p_namespace AND x.session_id = p_session FOR UPDATE;
    v_known := FOUND;
    v_now := ${s}.now_ms(p_settings);
    v_due := false;
    IF v_known THEN
      IF least(h.expire_time, h.active_time + h.idle_ttl, h.entry_due) <= v_now THEN
        v_before := h.revision;
        h := ${s}.do_due(h, v_now, p_settings);
        v_due := h.revision <> v_before;
      END IF;
      IF p_request IS NOT NULL THEN
        SELECT * INTO r FROM ${s}.request q
          WHERE q.session = h.id AND q.request_id = p_request AND q.time > v_now - p_settings[3];
        IF FOUND THEN
          IF r.fingerprint <> p_fingerprint THEN
            RETURN ${s}.unwritten(v_due, 'reused');
          END IF;
          RETURN ${s}.unwritten(v_due, 'replayed', r.revision::text, coalesce(r.update_time, -r.time)::text, r.wrote::text, encode(r.kept, 'hex'));
        END IF;
      END IF;
    ELSE
      h.live := false;
      h.revision := 0;
      h.metadata_revision := 0;
      h.entries := 0;
      h.bytes := 0;
    END IF;

    IF p_conditions[2] <> h.revision OR p_conditions[3] <> h.metadata_revision THEN
      RETURN ${s}.unwritten(v_due, 'stale');
    END IF;
    IF p_guard_keys IS NOT NULL THEN
      PERFORM FROM unnest(p_guard_keys, p_guard_revisions) g(k, r) LEFT JOIN ${s}.entry e ON e.session = h.id AND e.key = g.k
        WHERE coalesce(e.revision, 0) <> g.r;
      IF FOUND THEN
        RETURN ${s}.unwritten(v_due, 'stale');
      END IF;
    END IF;
    IF p_check_keys IS NOT NULL THEN
      SELECT string_agg(c.i || ':' || coalesce(e.revision, 0), ' ' ORDER BY c.i) INTO v_failed
        FROM unnest(p_check_keys, p_check_revisions) WITH ORDINALITY c(k, r, i)
        LEFT JOIN ${s}.entry e ON e.session = h.id AND e.key = c.k
        WHERE coalesce(e.revision, 0) <> c.r;
    END IF;
    v_before := CASE WHEN h.live THEN h.revision ELSE 0 END;
    IF p_conditions[1] <> v_before THEN
      v_failed := concat_ws(' ', '0:' || v_before, v_failed);
    END IF;
    IF v_failed IS NOT NULL THEN
      RETURN ${s}.unwritten(v_due, 'failed', v_failed);
    END IF;

    v_keys := p_keys;
    IF p_metadata[1] = 0 THEN
      EXIT WHEN NOT h.live AND p_request IS NULL;
      v_keys := NULL;
    ELSIF p_keys IS NOT NULL THEN
      IF h.live THEN
        SELECT count(*), coalesce(sum(octet_length(e.key) + e.size), 0) INTO v_old_count, v_old_bytes
          FROM ${s}.entry e WHERE e.session = h.id AND e.key = ANY (p_keys);
      END IF;
      IF v_removes THEN
        -- Which removals are writes, and where they stand among the keys that the event names.
        SELECT coalesce(array_agg(w.k ORDER BY w.i), '{}'), coalesce(array_agg(w.at ORDER BY w.i) FILTER (WHERE w.v IS NULL), '{}')
          INTO v_keys, v_removed
          FROM (
            SELECT u.k, u.v, u.i, row_number() OVER (ORDER BY u.i) AS at
            FROM unnest(p_keys, p_values) WITH ORDINALITY u(k, v, i)
            WHERE u.v IS NOT NULL OR u.i = ANY (p_always)
              OR (h.live AND EXISTS (SELECT FROM ${s}.entry e WHERE e.session = h.id AND e.key = u.k))
          ) w;
      END IF;
      v_entries := h.entries - v_old_count + p_sets[1];
      v_bytes := h.bytes - v_old_bytes + p_sets[2];
      IF v_entries > p_settings[4] AND v_entries > h.entries OR v_bytes > p_settings[5] AND v_bytes > h.bytes THEN
        RETURN ${s}.unwritten(v_due, 'tooLarge', h.entries::text, h.bytes::text, v_entries::text, v_bytes::text);
      END IF;
      IF cardinality(v_keys) = 0 THEN
        v_keys := NULL;
      END IF;
    END IF;
    -- Nothing to write, and nothing to remember.
    EXIT WHEN v_keys IS NULL AND p_metadata IS NULL AND p_request IS NULL;
    EXIT WHEN v_known;

    -- Without a row there was nothing to lock. Who makes it first goes on, the others look again. The floor is read when the row
    -- is there, by a statement of its own: it then holds the revisions of whatever had this id and was forgotten before. Only
    -- READ COMMITTED looks anew for each statement.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      RAISE EXCEPTION 'the store needs transactions at the isolation level read committed' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    INSERT INTO ${s}.head (namespace, session_id, live, revision, born, oldest, expired_revision, metadata_revision,
        update_time, active_time, entries, bytes, facets)
      VALUES (p_namespace, p_session, false, 0, 0, 1, 0, 0, 0, 0, 0, 0, '{}')
      ON CONFLICT DO NOTHING RETURNING * INTO h;
    IF FOUND THEN
      SELECT floor INTO v_before FROM ${s}.namespace WHERE name = p_namespace;
      h.revision := coalesce(v_before, 0);
      h.born := h.revision;
      h.oldest := h.revision + 1;
      EXIT;
    END IF;
  END LOOP;

  IF p_metadata[1] = 0 THEN
    IF h.live THEN
      v_time := greatest(coalesce(p_time, v_now), h.update_time);
      h := ${s}.end_session(h, p_kind, v_time, p_request, p_settings);
      v_keys := '{}';
    END IF;
  ELSIF v_keys IS NOT NULL OR p_metadata IS NOT NULL THEN
    v_time := greatest(coalesce(p_time, v_now), h.update_time);
    h.revision := h.revision + 1;
    IF v_keys IS NULL THEN
      v_keys := '{}';
    ELSE
      IF p_large IS NOT NULL THEN
        v_large := array_fill(NULL::bigint, ARRAY[cardinality(p_keys)]);
        FOREACH v_at IN ARRAY p_large LOOP
          INSERT INTO ${s}.large (value) VALUES (p_values[v_at]) RETURNING id INTO v_before;
          v_large[v_at] := v_before;
        END LOOP;
      END IF;
      IF v_old_count > 0 THEN
        INSERT INTO ${s}.past (session, key, revision, ended, update_time, expire_time, size, large, value)
          SELECT e.session, e.key, e.revision, h.revision, e.update_time, e.expire_time, e.size, e.large, e.value
          FROM ${s}.entry e WHERE e.session = h.id AND e.key = ANY (p_keys);
      END IF;
      IF v_removes AND v_old_count > 0 THEN
        DELETE FROM ${s}.entry e WHERE e.session = h.id
          AND e.key = ANY (ARRAY(SELECT u.k FROM unnest(p_keys, p_values) u(k, v) WHERE u.v IS NULL));
      END IF;
      IF p_sets[1] > 0 THEN
        INSERT INTO ${s}.entry AS e (session, key, revision, update_time, expire_time, size, large, value)
          SELECT h.id, u.k, h.revision, v_time, coalesce(v_time + u.ttl, u.expire), octet_length(u.v), u.large,
            CASE WHEN u.large IS NULL THEN u.v END
          FROM unnest(p_keys, p_values, p_ttls, p_expires, v_large) u(k, v, ttl, expire, large)
          WHERE u.v IS NOT NULL
          ON CONFLICT (session, key) DO UPDATE SET revision = excluded.revision, update_time = excluded.update_time,
            expire_time = excluded.expire_time, size = excluded.size, large = excluded.large, value = excluded.value;
        IF p_ttls IS NOT NULL OR p_expires IS NOT NULL THEN
          h.entry_due := least(h.entry_due,
            (SELECT min(coalesce(v_time + u.ttl, u.expire)) FROM unnest(p_ttls, p_expires) u(ttl, expire)));
        END IF;
      END IF;
      h.entries := v_entries;
      h.bytes := v_bytes;
    END IF;

    v_before := h.update_time;
    h.update_time := v_time;
    h.active_time := v_time;
    IF p_metadata IS NULL AND h.live THEN
      UPDATE ${s}.activity SET update_time = v_time WHERE facet = ANY (h.facets) AND update_time = v_before
        AND session_id = h.session_id AND session = h.id AND update_time <> v_time;
    ELSE
      IF h.live THEN
        PERFORM ${s}.keep_metadata(h, h.revision);
      END IF;
      h.live := true;
      h.metadata_revision := h.revision;
      IF p_metadata IS NULL THEN
        h.create_time := v_time;
        h.label_names := '{}';
        h.label_values := '{}';
      ELSE
        v_labels := (cardinality(p_texts) - 3) / 2;
        h.create_time := coalesce(p_metadata[2], v_time);
        h.forked_revision := p_metadata[3];
        h.expire_time := coalesce(v_time + p_metadata[4], p_metadata[5]);
        h.idle_ttl := p_metadata[6];
        h.workflow_id := p_texts[1];
        h.user_id := p_texts[2];
        h.forked_id := p_texts[3];
        h.label_names := p_texts[4:3 + v_labels];
        h.label_values := p_texts[4 + v_labels:];
      END IF;
      h.facets := ${s}.relist(h, h.facets, v_before);
    END IF;

    INSERT INTO ${s}.event (session, revision, time, expire_time, size, xid, kind, ended, request_id, keys, removed)
      VALUES (h.id, h.revision, v_time, least(h.expire_time, h.active_time + h.idle_ttl), coalesce(p_sets[2], 0),
        pg_current_xact_id(), p_kind, false, p_request, v_keys, v_removed);
    h.due := least(h.due, h.expire_time, h.active_time + h.idle_ttl, h.entry_due, v_time + p_settings[2]);
    IF h.revision - h.oldest + 1 > p_settings[1] THEN
      h.oldest := ${s}.trim_by_count(h, p_settings[1]);
    END IF;
    UPDATE ${s}.head x SET revision = h.revision, oldest = h.oldest, metadata_revision = h.metadata_revision,
      update_time = h.update_time, active_time = h.active_time, entries = h.entries, bytes = h.bytes,
      entry_due = h.entry_due, due = h.due, create_time = h.create_time, expire_time = h.expire_time, idle_ttl = h.idle_ttl,
      forked_revision = h.forked_revision, live = h.live, workflow_id = h.workflow_id, user_id = h.user_id,
      forked_id = h.forked_id, label_names = h.label_names, label_values = h.label_values, facets = h.facets, born = h.born
      WHERE x.id = h.id;
  END IF;

  IF p_request IS NOT NULL THEN
    INSERT INTO ${s}.request (session, time, revision, update_time, wrote, request_id, fingerprint, kept)
      VALUES (h.id, v_now, CASE WHEN h.live THEN h.revision ELSE 0 END, CASE WHEN h.live THEN h.update_time END,
        v_time IS NOT NULL, p_request, p_fingerprint, p_kept)
      ON CONFLICT (session, request_id) DO UPDATE SET time = excluded.time, revision = excluded.revision,
        update_time = excluded.update_time, wrote = excluded.wrote, fingerprint = excluded.fingerprint, kept = excluded.kept;
    IF v_time IS NULL AND NOT h.live THEN
      -- Only the answer is kept of this session: the sweeper forgets it after that.
      h.due := least(h.due, v_now + p_settings[3]);
      PERFORM ${s}.put_head(h);
    END IF;
  END IF;
  IF v_time IS NULL AND p_request IS NULL THEN
    RETURN ${s}.unwritten(v_due, 'done', CASE WHEN h.live THEN h.revision ELSE 0 END::text,
      CASE WHEN h.live THEN h.update_time ELSE -v_now END::text, 'false');
  END IF;
  RETURN concat_ws(' ', 'done', v_due OR v_time IS NOT NULL, CASE WHEN h.live THEN h.revision ELSE 0 END,
    CASE WHEN h.live THEN h.update_time ELSE -v_now END, v_time IS NOT NULL);
END $$;
`;
}
