/**
 * The functions of the PostgreSQL store that read, as the first migration makes them. They are STABLE: all that one of them reads
 * is of one snapshot. What they give is rows of four columns, whose first number says what the row is (see {@link ROW}).
 */

/** What a row is: the first number of its `n`. */
export const ROW = {
  /** `[0, now, floor]`: there is no head. */
  NOTHING: 0,
  /** The head: see `headOf`. */
  HEAD: 1,
  /** A moment: see `momentOf`. */
  MOMENT: 2,
  /** `[3, revision, updateTime or the answer's time negated, wrote]`, the fingerprint, what was kept in `v`. */
  REMEMBERED: 3,
  /** `[4, revision, updateTime, expireTime]`, key in `k`, value in `v`. */
  ENTRY: 4,
  /** `[5]`: there is more. */
  MORE: 5,
  /** `[6, revision, time, kind, ended]`, the request id in `k`. Its entries follow. */
  EVENT: 6,
  /** `[7, due]`: something is due: call the function whose name ends in `_due`. */
  DUE: 7,
} as const;

const READS = "SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off";

/** The columns of metadata as the numbers and the texts of a row. */
function metadataNumbers(m: string): string {
  return `${m}.create_time, ${m}.expire_time, ${m}.idle_ttl, ${m}.forked_revision`;
}

function metadataTexts(m: string): string {
  return `ARRAY[${m}.workflow_id, ${m}.user_id, ${m}.forked_id] || ${m}.label_names || ${m}.label_values`;
}

/** Assigns what makes the row of a head. */
function headRow(now: string, history: string): string {
  return `n := ARRAY[1, ${now}, h.live::int, h.revision, h.born, greatest(h.oldest, h.revision - ${history} + 1), h.expired_revision,
    h.metadata_revision, h.update_time, h.active_time, h.entries, h.bytes, ${metadataNumbers("h")}];
  IF h.live THEN
    t := ${metadataTexts("h")};
  END IF;`;
}

/** The statements that make the functions. @param s the schema, quoted */
export function readFunctions(s: string): string {
  const value = (row: string): string =>
    `coalesce(${row}.value, (SELECT l.value FROM ${s}.large l WHERE l.id = ${row}.large))`;
  const entryRow = (row: string): string =>
    `ARRAY[4, ${row}.revision, ${row}.update_time, ${row}.expire_time], NULL::bytea[], ${row}.key, ${value(row)}`;
  const columns = "x.key, x.revision, x.update_time, x.expire_time, x.size, x.large, x.value";
  /** What stood at a revision of one session, as rows like entries. */
  const at = (where: string): string =>
    `SELECT ${columns} FROM ${s}.entry x WHERE x.session = h.id AND x.revision <= v_at AND ${where}
     UNION ALL
     SELECT ${columns} FROM ${s}.past x WHERE x.session = h.id AND x.revision <= v_at AND x.ended > v_at AND ${where}`;
  const now = (where: string): string =>
    `SELECT ${columns} FROM ${s}.entry x WHERE x.session = h.id AND ${where}`;
  const inRange = "x.key >= p_low AND x.key < p_high";
  const upward = `${inRange} AND x.key > p_from`;
  const downward = `${inRange} AND x.key < coalesce(nullif(p_from, ''), '\\xff')`;
  return `
-- No replica that lags is ever read.
CREATE FUNCTION ${s}.refuse_standby() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'this server is a standby' USING ERRCODE = 'read_only_sql_transaction';
  END IF;
END $$;

-- Whether something of a session has expired that is still there.
CREATE FUNCTION ${s}.is_due(h ${s}.head, p_now bigint) RETURNS boolean LANGUAGE plpgsql STABLE ${READS} AS $$
BEGIN
  RETURN h.live AND (coalesce(least(h.expire_time, h.active_time + h.idle_ttl) <= p_now, false) OR coalesce(h.entry_due <= p_now, false)
    AND EXISTS (SELECT FROM ${s}.entry e WHERE e.session = h.id AND e.expire_time <= p_now));
END $$;

CREATE FUNCTION ${s}.head_row(h ${s}.head, p_now bigint, p_history bigint, OUT n bigint[], OUT t bytea[]) LANGUAGE plpgsql STABLE AS $$
BEGIN
  ${headRow("p_now", "p_history")}
END $$;

CREATE FUNCTION ${s}.look(
  p_settings bigint[], p_namespace bytea, p_session bytea, p_request bytea, p_at bigint, p_keys bytea[],
  p_low bytea, p_high bytea, p_from bytea, p_reverse boolean, p_count bigint, p_bytes bigint
) RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql STABLE ${READS} AS $$
#variable_conflict use_column
DECLARE
  h ${s}.head;
  r record;
  e record;
  c refcursor;
  v_now bigint := ${s}.now_ms(p_settings);
  v_at bigint := p_at;
  v_seen bigint := 0;
  v_bytes bigint := 0;
BEGIN
  IF pg_is_in_recovery() THEN
    PERFORM ${s}.refuse_standby();
  END IF;
  SELECT * INTO h FROM ${s}.head x WHERE x.namespace = p_namespace AND x.session_id = p_session;
  IF NOT FOUND THEN
    n := ARRAY[0, v_now, coalesce((SELECT x.floor FROM ${s}.namespace x WHERE x.name = p_namespace), 0)];
    RETURN NEXT;
    RETURN;
  END IF;
  IF h.live AND least(h.expire_time, h.active_time + h.idle_ttl, h.entry_due) <= v_now AND ${s}.is_due(h, v_now) THEN
    n := ARRAY[7, v_now];
    RETURN NEXT;
    RETURN;
  END IF;
  ${headRow("v_now", "p_settings[1]")}
  RETURN NEXT;
  IF p_request IS NOT NULL THEN
    RETURN QUERY SELECT ARRAY[3, q.revision, coalesce(q.update_time, -q.time), q.wrote::int::bigint], ARRAY[q.fingerprint], NULL::bytea, q.kept
      FROM ${s}.request q WHERE q.session = h.id AND q.request_id = p_request AND q.time > v_now - p_settings[3];
  END IF;

  IF v_at = h.revision THEN
    n := ARRAY[2, h.live::int, h.update_time, least(h.expire_time, h.active_time + h.idle_ttl), ${metadataNumbers("h")}];
    RETURN NEXT;
    v_at := NULL;
  ELSIF v_at IS NOT NULL THEN
    IF v_at > h.revision OR v_at < n[6] THEN
      RETURN;
    END IF;
    SELECT x.ended, x.time, x.expire_time INTO e FROM ${s}.event x WHERE x.session = h.id AND x.revision = v_at;
    SELECT * INTO r FROM ${s}.earlier x WHERE x.session = h.id AND x.ended > v_at ORDER BY x.ended LIMIT 1;
    IF e.ended THEN
      n := ARRAY[2, 0, e.time];
      t := NULL;
    ELSIF FOUND THEN
      n := ARRAY[2, 1, e.time, e.expire_time, ${metadataNumbers("r")}];
      t := ${metadataTexts("r")};
    ELSE
      n := ARRAY[2, 1, e.time, e.expire_time, ${metadataNumbers("h")}];
    END IF;
    RETURN NEXT;
  END IF;

  IF p_keys IS NOT NULL THEN
    IF v_at IS NULL THEN
      RETURN QUERY SELECT ${entryRow("y")} FROM (${now("x.key = ANY (p_keys)")}) y;
    ELSE
      RETURN QUERY SELECT ${entryRow("y")} FROM (${at("x.key = ANY (p_keys)")}) y;
    END IF;
  ELSIF p_low IS NULL THEN
    RETURN;
  ELSIF p_count IS NULL THEN
    IF v_at IS NULL THEN
      RETURN QUERY SELECT ${entryRow("y")} FROM (${now(inRange)}) y ORDER BY y.key;
    ELSE
      RETURN QUERY SELECT ${entryRow("y")} FROM (${at(inRange)}) y ORDER BY y.key;
    END IF;
  ELSE
    IF v_at IS NULL AND NOT p_reverse THEN
      OPEN c FOR ${now(upward)} ORDER BY x.key LIMIT p_count + 1;
    ELSIF v_at IS NULL THEN
      OPEN c FOR ${now(downward)} ORDER BY x.key DESC LIMIT p_count + 1;
    ELSIF NOT p_reverse THEN
      OPEN c FOR ${at(upward)} ORDER BY key LIMIT p_count + 1;
    ELSE
      OPEN c FOR ${at(downward)} ORDER BY key DESC LIMIT p_count + 1;
    END IF;
    t := NULL;
    LOOP
      FETCH c INTO r;
      EXIT WHEN NOT FOUND;
      v_seen := v_seen + 1;
      v_bytes := v_bytes + octet_length(r.key) + r.size + 64;
      IF v_seen > p_count OR (v_seen > 1 AND v_bytes > p_bytes) THEN
        n := ARRAY[5];
        k := NULL;
        v := NULL;
        RETURN NEXT;
        EXIT;
      END IF;
      n := ARRAY[4, r.revision, r.update_time, r.expire_time];
      k := r.key;
      v := r.value;
      IF r.large IS NOT NULL THEN
        SELECT l.value INTO v FROM ${s}.large l WHERE l.id = r.large;
      END IF;
      RETURN NEXT;
    END LOOP;
    CLOSE c;
  END IF;
END $$;

-- Looks after doing what is due, and holds the session meanwhile.
CREATE FUNCTION ${s}.look_due(
  p_settings bigint[], p_namespace bytea, p_session bytea, p_request bytea, p_at bigint, p_keys bytea[],
  p_low bytea, p_high bytea, p_from bytea, p_reverse boolean, p_count bigint, p_bytes bigint
) RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql AS $$
DECLARE
  v_now bigint := (SELECT x.p_now FROM ${s}.expire(p_settings, p_namespace, p_session) x);
BEGIN
  RETURN QUERY SELECT * FROM ${s}.look(p_settings[:5] || v_now, p_namespace, p_session, p_request, p_at, p_keys,
    p_low, p_high, p_from, p_reverse, p_count, p_bytes);
END $$;

CREATE FUNCTION ${s}.events(
  p_settings bigint[], p_namespace bytea, p_session bytea, p_start bigint, p_end bigint, p_reverse boolean, p_count bigint, p_bytes bigint
) RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql STABLE ${READS} AS $$
#variable_conflict use_column
DECLARE
  h ${s}.head;
  r ${s}.event;
  c refcursor;
  v_now bigint := ${s}.now_ms(p_settings);
  v_seen bigint := 0;
  v_bytes bigint := 0;
BEGIN
  IF pg_is_in_recovery() THEN
    PERFORM ${s}.refuse_standby();
  END IF;
  SELECT * INTO h FROM ${s}.head x WHERE x.namespace = p_namespace AND x.session_id = p_session;
  IF NOT FOUND THEN
    n := ARRAY[0, v_now, coalesce((SELECT x.floor FROM ${s}.namespace x WHERE x.name = p_namespace), 0)];
    RETURN NEXT;
    RETURN;
  END IF;
  IF ${s}.is_due(h, v_now) THEN
    n := ARRAY[7, v_now];
    RETURN NEXT;
    RETURN;
  END IF;
  ${headRow("v_now", "p_settings[1]")}
  RETURN NEXT;
  v_seen := greatest(p_start, n[6]);
  IF p_reverse THEN
    OPEN c FOR SELECT * FROM ${s}.event x WHERE x.session = h.id AND x.revision >= v_seen AND x.revision <= p_end
      ORDER BY x.revision DESC LIMIT p_count;
  ELSE
    OPEN c FOR SELECT * FROM ${s}.event x WHERE x.session = h.id AND x.revision >= v_seen AND x.revision <= p_end
      ORDER BY x.revision LIMIT p_count;
  END IF;
  v_seen := 0;
  LOOP
    FETCH c INTO r;
    EXIT WHEN NOT FOUND;
    v_seen := v_seen + 1;
    v_bytes := v_bytes + r.size;
    EXIT WHEN v_seen > 1 AND v_bytes > p_bytes;
    n := ARRAY[6, r.revision, r.time, r.kind, r.ended::int];
    t := NULL;
    k := r.request_id;
    v := NULL;
    RETURN NEXT;
    RETURN QUERY
      SELECT ARRAY[4, r.revision, r.time, coalesce(y.expire_time, z.expire_time)], NULL::bytea[], u.key,
        coalesce(y.value, z.value, (SELECT l.value FROM ${s}.large l WHERE l.id = coalesce(y.large, z.large)))
      FROM unnest(r.keys) WITH ORDINALITY u(key, i)
      LEFT JOIN ${s}.entry y ON y.session = h.id AND y.key = u.key AND y.revision = r.revision
      LEFT JOIN ${s}.past z ON z.session = h.id AND z.key = u.key AND z.revision = r.revision
      ORDER BY u.i;
  END LOOP;
  CLOSE c;
END $$;

-- Reads events after doing what is due.
CREATE FUNCTION ${s}.events_due(
  p_settings bigint[], p_namespace bytea, p_session bytea, p_start bigint, p_end bigint, p_reverse boolean, p_count bigint, p_bytes bigint
) RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql AS $$
DECLARE
  v_now bigint := (SELECT x.p_now FROM ${s}.expire(p_settings, p_namespace, p_session) x);
BEGIN
  RETURN QUERY SELECT * FROM ${s}.events(p_settings[:5] || v_now, p_namespace, p_session, p_start, p_end, p_reverse, p_count, p_bytes);
END $$;

-- The commits that a snapshot saw (p_until, or this statement's) and an earlier one did not, in an order that agrees with each
-- session's. A transaction that runs for long, whose ever it is, delays nothing but its own commits.
-- The first row says whether some are lost, and names the later snapshot in \`k\`. Where the server's count of transactions went
-- back, by a failover or a crash, those after the earlier snapshot may have numbers that it says it saw: they are lost too.
CREATE FUNCTION ${s}.feed(
  p_after pg_snapshot, p_until pg_snapshot, p_time bigint, p_session bigint, p_revision bigint, p_count bigint
) RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql STABLE ${READS} AS $$
#variable_conflict use_column
DECLARE
  v_now pg_snapshot := pg_current_snapshot();
  v_ahead boolean := pg_snapshot_xmax(coalesce(p_until, p_after)) > pg_snapshot_xmax(v_now);
  v_until pg_snapshot := CASE WHEN v_ahead THEN v_now ELSE coalesce(p_until, v_now) END;
  v_open xid8[] := ARRAY(SELECT pg_snapshot_xip(p_after));
BEGIN
  IF pg_is_in_recovery() THEN
    PERFORM ${s}.refuse_standby();
  END IF;
  RETURN QUERY SELECT ARRAY[(v_ahead OR EXISTS (
      SELECT FROM ${s}.trimmed x WHERE x.xid >= pg_snapshot_xmin(p_after) AND NOT pg_visible_in_snapshot(x.xid, p_after)
    ))::int::bigint], NULL::bytea[], convert_to(v_until::text, 'UTF8'), NULL::bytea;
  RETURN QUERY
    SELECT ARRAY[e.id, e.revision, e.time, e.kind, e.expire_time, m.create_time, m.session_expire, m.idle_ttl, m.forked_revision],
      m.texts, h.namespace, h.session_id
    FROM (
      SELECT x.session AS id, x.revision, x.time, x.kind, x.expire_time, x.ended FROM ${s}.event x
      WHERE (x.xid >= pg_snapshot_xmax(p_after) OR x.xid = ANY (v_open))
        AND pg_visible_in_snapshot(x.xid, v_until)
        AND (p_time IS NULL OR (x.time, x.session, x.revision) > (p_time, p_session, p_revision))
      ORDER BY x.time, x.session, x.revision LIMIT p_count
    ) e
    JOIN ${s}.head h ON h.id = e.id
    CROSS JOIN LATERAL (
      SELECT x.create_time, x.expire_time AS session_expire, x.idle_ttl, x.forked_revision, ${metadataTexts("x")} AS texts, x.ended
      FROM ${s}.earlier x WHERE x.session = e.id AND x.ended >= e.revision + (NOT e.ended)::int
      UNION ALL
      SELECT ${metadataNumbers("h")}, ${metadataTexts("h")}, NULL
      ORDER BY ended LIMIT 1
    ) m
    ORDER BY e.time, e.id, e.revision;
END $$;
`;
}
