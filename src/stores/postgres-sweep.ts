/** The function of the PostgreSQL store that does the housekeeping, as the first migration makes it. */
import { SETTINGS } from "./postgres-functions.ts";

/** The statement that makes the function. @param s the schema, quoted */
export function sweepFunction(s: string): string {
  return `
-- Does a part of the housekeeping. Gives whether it stopped before all was done, when something is due next, the time, and
-- whether it wrote events.
CREATE FUNCTION ${s}.sweep(p_settings bigint[], p_count integer, OUT p_more boolean, OUT p_next bigint, OUT p_now bigint, OUT p_wrote boolean)
LANGUAGE plpgsql ${SETTINGS} AS $$
DECLARE
  h ${s}.head;
  v_revision bigint;
  v_first bigint;
  v_time bigint;
  v_heads integer := 0;
  v_requests integer;
  -- A session that writes all the time has something fall out of age all the time: not each piece gets a visit of its own.
  v_pause bigint := least(p_settings[2] / 64, 30000);
BEGIN
  p_now := ${s}.now_ms(p_settings);
  p_wrote := false;
  FOR h IN SELECT * FROM ${s}.head x WHERE x.due <= p_now ORDER BY x.due LIMIT p_count FOR UPDATE SKIP LOCKED LOOP
    v_heads := v_heads + 1;
    v_revision := h.revision;
    h := ${s}.do_due(h, p_now, p_settings);
    p_wrote := p_wrote OR h.revision <> v_revision;
    SELECT e.revision, e.time INTO v_first, v_time FROM ${s}.event e
      WHERE e.session = h.id AND e.revision > h.revision - p_settings[1] AND e.time > p_now - p_settings[2]
      ORDER BY e.revision LIMIT 1;
    v_first := coalesce(v_first, h.revision + 1);
    IF v_first > h.oldest THEN
      PERFORM ${s}.trim(h.id, v_first);
      h.oldest := v_first;
    END IF;
    h.due := least(h.expire_time, h.active_time + h.idle_ttl, h.entry_due, greatest(v_time + p_settings[2], p_now + v_pause));
    IF v_time IS NULL THEN
      h.due := least(h.expire_time, h.active_time + h.idle_ttl, h.entry_due);
      IF NOT h.live THEN
        SELECT max(q.time) + p_settings[3] INTO h.due FROM ${s}.request q WHERE q.session = h.id AND q.time > p_now - p_settings[3];
      END IF;
    END IF;
    IF h.due IS NULL AND NOT h.live THEN
      -- Nothing is left. Whoever gets this id begins above its revisions.
      DELETE FROM ${s}.request WHERE session = h.id;
      INSERT INTO ${s}.namespace AS n (name, floor) VALUES (h.namespace, h.revision)
        ON CONFLICT (name) DO UPDATE SET floor = excluded.floor WHERE n.floor < excluded.floor;
      DELETE FROM ${s}.earlier WHERE session = h.id;
      DELETE FROM ${s}.head x WHERE x.id = h.id;
    ELSE
      PERFORM ${s}.put_head(h);
    END IF;
  END LOOP;

  DELETE FROM ${s}.request q WHERE (q.session, q.request_id) IN (
    SELECT o.session, o.request_id FROM ${s}.request o WHERE o.time <= p_now - p_settings[3]
    ORDER BY o.time LIMIT p_count * 10 FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_requests = ROW_COUNT;
  -- Who reads the feed less than once an hour may be told that it lost something when it did not.
  DELETE FROM ${s}.trimmed t WHERE t.at < ${s}.now_ms(NULL) - 3600000
    AND t.xid < (SELECT x.xid FROM ${s}.trimmed x ORDER BY x.xid DESC LIMIT 1);
  DELETE FROM ${s}.listener l WHERE l.until < ${s}.now_ms(NULL);
  p_more := v_heads = p_count OR v_requests = p_count * 10;
  p_next := least((SELECT min(x.due) FROM ${s}.head x), (SELECT min(q.time) FROM ${s}.request q) + p_settings[3]);
END $$;
`;
}
