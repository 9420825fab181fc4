/** The functions of the PostgreSQL store that moving needs, as the first migration makes them. */

/** The statements that make the functions. @param s the schema, quoted */
export function movingFunctions(s: string): string {
  return `
-- Removes all that is kept of a session whose row is locked.
CREATE FUNCTION ${s}.drop_session(h ${s}.head) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  PERFORM ${s}.trim(h.id, 9223372036854775807);
  WITH gone AS (DELETE FROM ${s}.entry WHERE session = h.id RETURNING large)
  DELETE FROM ${s}.large WHERE id IN (SELECT large FROM gone WHERE large IS NOT NULL);
  DELETE FROM ${s}.request WHERE session = h.id;
  h.live := false;
  PERFORM ${s}.relist(h, h.facets, h.update_time);
  DELETE FROM ${s}.head x WHERE x.id = h.id;
END $$;

-- Gives rows that were put in under a number to a session, in the place of what is kept of it. Without a head: only takes that away.
--   p_head: live, revision, born, oldest, expired revision, metadata revision, update time, active time, create time, expire time,
--     idle ttl, forked revision; p_texts as for plan
CREATE FUNCTION ${s}.take_place(p_settings bigint[], p_number bigint, p_namespace bytea, p_session bytea, p_head bigint[], p_texts bytea[])
RETURNS void LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' AS $$
DECLARE
  h ${s}.head;
  v_labels integer := greatest((cardinality(p_texts) - 3) / 2, 0);
  v_time bigint;
BEGIN
  LOOP
    SELECT * INTO h FROM ${s}.head x WHERE x.namespace = p_namespace AND x.session_id = p_session FOR UPDATE;
    IF FOUND THEN
      PERFORM ${s}.drop_session(h);
      IF p_head IS NULL THEN
        INSERT INTO ${s}.namespace AS n (name, floor) VALUES (p_namespace, h.revision)
          ON CONFLICT (name) DO UPDATE SET floor = excluded.floor WHERE n.floor < excluded.floor;
      END IF;
    END IF;
    EXIT WHEN p_head IS NULL;
    INSERT INTO ${s}.head (id, namespace, session_id, live, revision, born, oldest, expired_revision, metadata_revision, update_time,
        active_time, entries, bytes, entry_due, create_time, expire_time, idle_ttl, forked_revision, workflow_id, user_id, forked_id,
        label_names, label_values, facets)
      OVERRIDING SYSTEM VALUE
      SELECT p_number, p_namespace, p_session, p_head[1] = 1, p_head[2], p_head[3],
        coalesce((SELECT min(e.revision) FROM ${s}.event e WHERE e.session = p_number), p_head[2] + 1),
        p_head[5], p_head[6], p_head[7], p_head[8], count(*), coalesce(sum(octet_length(e.key) + e.size), 0), min(e.expire_time),
        p_head[9], p_head[10], p_head[11], p_head[12], p_texts[1], p_texts[2], p_texts[3],
        p_texts[4:3 + v_labels], p_texts[4 + v_labels:], '{}'
      FROM ${s}.entry e WHERE e.session = p_number
      ON CONFLICT DO NOTHING RETURNING * INTO h;
    -- Somebody may have made the session meanwhile: it is replaced, too.
    IF FOUND THEN
      h.facets := ${s}.relist(h, '{}', 0);
      SELECT min(e.time) INTO v_time FROM ${s}.event e WHERE e.session = p_number;
      h.due := least(h.expire_time, h.active_time + h.idle_ttl, h.entry_due, v_time + p_settings[2]);
      IF h.due IS NULL AND NOT h.live THEN
        h.due := ${s}.now_ms(p_settings);
      END IF;
      PERFORM ${s}.put_head(h);
      EXIT;
    END IF;
  END LOOP;
END $$;

-- Puts values in the place of versions that are still as they were read: p_old has the short ones, p_numbers the numbers of long ones.
CREATE FUNCTION ${s}.rewrite(p_session bigint, p_keys bytea[], p_revisions bigint[], p_old bytea[], p_numbers bigint[], p_new bytea[], p_large bigint)
RETURNS bigint LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' AS $$
DECLARE
  r record;
  v_number bigint;
  v_found bigint;
  v_count bigint := 0;
  v_grown bigint := 0;
BEGIN
  PERFORM FROM ${s}.head x WHERE x.id = p_session FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  FOR r IN
    SELECT u.key, u.revision, u.old, u.number, u.new, octet_length(u.new) AS size
    FROM unnest(p_keys, p_revisions, p_old, p_numbers, p_new) u(key, revision, old, number, new)
  LOOP
    v_number := NULL;
    IF r.size > p_large THEN
      INSERT INTO ${s}.large (value) VALUES (r.new) RETURNING id INTO v_number;
    END IF;
    UPDATE ${s}.entry e SET value = CASE WHEN v_number IS NULL THEN r.new END, large = v_number, size = r.size
      FROM ${s}.entry b WHERE b.session = p_session AND b.key = r.key AND e.session = p_session AND e.key = r.key
        AND e.revision = r.revision AND (e.large = r.number OR e.value = r.old)
      RETURNING r.size - b.size INTO v_found;
    IF FOUND THEN
      v_grown := v_grown + v_found;
    ELSE
      UPDATE ${s}.past e SET value = CASE WHEN v_number IS NULL THEN r.new END, large = v_number, size = r.size
        WHERE e.session = p_session AND e.key = r.key AND e.revision = r.revision AND (e.large = r.number OR e.value = r.old);
    END IF;
    IF FOUND THEN
      v_count := v_count + 1;
      DELETE FROM ${s}.large WHERE id = r.number;
    ELSE
      DELETE FROM ${s}.large WHERE id = v_number;
    END IF;
  END LOOP;
  UPDATE ${s}.head x SET bytes = x.bytes + v_grown WHERE x.id = p_session AND v_grown <> 0;
  RETURN v_count;
END $$;
`;
}
