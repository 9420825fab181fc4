/**
 * Listings of sessions: the functions that the first migration makes, and how they are called. Which index leads to a page is
 * decided here and not by estimates, which know nothing of a database that was just filled.
 */
import type { SessionQuery } from "./backend.ts";
import { byteaArray, prefixEnd, text, whole } from "./postgres-codec.ts";
import type { Statement } from "./postgres-steps.ts";

/**
 * So many matches of a filter are sorted for a page, if the page's order is another's. If there are more, the order is followed
 * and what does not match is left out, as matches come often then.
 */
const FEW = 10_000;
/** So far it is counted how many match each of several filters, to follow the narrowest. */
const COUNTED = 1_000;

const INDEXES =
  "SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan";

/** The statements that make the functions. @param s the schema, quoted */
export function listingFunctions(s: string): string {
  const parameters = `p_settings bigint[], p_namespace bytea, p_by_time boolean, p_workflow bytea, p_user bytea,
  p_names bytea[], p_values bytea[], p_low bytea, p_high bytea, p_after bigint, p_before bigint, p_from_id bytea, p_from_time bigint,
  p_count bigint`;
  // By what an index finds sessions; whatever is asked for is then compared itself.
  const exact = `h.live AND h.namespace = p_namespace AND (p_workflow IS NULL OR h.workflow_id = p_workflow)
      AND (p_user IS NULL OR h.user_id = p_user) AND h.session_id >= p_low AND h.session_id < p_high
      AND h.update_time > p_after AND h.update_time < p_before
      AND (p_names IS NULL OR NOT EXISTS (SELECT FROM unnest(p_names, p_values) w(name, value) WHERE NOT EXISTS (
        SELECT FROM unnest(h.label_names, h.label_values) l(name, value) WHERE l.name = w.name AND l.value = w.value)))`;
  const later = `h.session_id > p_from_id`;
  const laterInTime = `(h.update_time < p_from_time OR h.update_time = p_from_time AND h.session_id > p_from_id)`;
  /** A page of heads as rows. */
  const page = (from: string, where: string, order: string): string =>
    `RETURN QUERY SELECT y.n, y.t, y.session_id, y.due FROM (
       SELECT r.n, r.t, h.session_id, CASE WHEN ${s}.is_due(h, v_now) THEN '\\x01'::bytea END AS due
       FROM ${from} CROSS JOIN LATERAL ${s}.head_row(h, v_now, p_settings[1]) r
       WHERE ${where} AND ${exact}
       ORDER BY ${order} LIMIT p_count - v_found
     ) y`;
  // By its number and nothing else: estimates would tempt to other indexes.
  const byNumber = (number: string): string =>
    `CROSS JOIN LATERAL (SELECT * FROM ${s}.head h WHERE h.id = ${number} OFFSET 0) h`;
  const ids = "x.session_id >= p_low AND x.session_id < p_high AND x.session_id > p_from_id";
  const times = "x.update_time > p_after AND x.update_time < p_before";
  return `
-- In the order of an index.
CREATE FUNCTION ${s}.list_many(p_facet bigint, ${parameters})
RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql STABLE ${INDEXES} SET enable_sort = off AS $$
DECLARE
  v_now bigint := ${s}.now_ms(p_settings);
  v_found bigint := 0;
BEGIN
  IF NOT p_by_time AND p_facet IS NULL THEN
    ${page(`${s}.head h`, `${later}`, "h.session_id")};
  ELSIF NOT p_by_time THEN
    ${page(`${s}.facet x ${byNumber("x.session")}`, `x.facet = p_facet AND ${ids}`, "x.session_id")};
  ELSE
    -- Those of the same time as the last of the page before, then those before it.
    ${page(
      `${s}.activity x ${byNumber("x.session")}`,
      `x.facet = p_facet AND x.update_time = p_from_time AND ${ids} AND ${times}`,
      "x.session_id",
    )};
    GET DIAGNOSTICS v_found = ROW_COUNT;
    ${page(
      `${s}.activity x ${byNumber("x.session")}`,
      `x.facet = p_facet AND x.update_time < p_from_time AND ${times} AND x.session_id >= p_low AND x.session_id < p_high`,
      "x.update_time DESC, x.session_id",
    )};
  END IF;
END $$;

-- By a filter that few match, then sorted.
CREATE FUNCTION ${s}.list_few(p_facet bigint, ${parameters})
RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql STABLE ${INDEXES} AS $$
DECLARE
  v_now bigint := ${s}.now_ms(p_settings);
  v_found bigint := 0;
BEGIN
  IF NOT p_by_time THEN
    ${page(
      // Sorted by what the index has: of the heads only those on the page are read.
      `(SELECT x.session, x.session_id FROM ${s}.activity x WHERE x.facet = p_facet AND ${times} AND ${ids}
        ORDER BY x.session_id OFFSET 0) x ${byNumber("x.session")}`,
      "true",
      "x.session_id",
    )};
  ELSIF p_facet IS NULL THEN
    ${page(
      `(SELECT x.id FROM ${s}.head x WHERE x.live AND x.namespace = p_namespace AND x.session_id >= p_low AND x.session_id < p_high
        OFFSET 0) x ${byNumber("x.id")}`,
      laterInTime,
      "h.update_time DESC, h.session_id",
    )};
  ELSE
    ${page(
      `(SELECT x.session FROM ${s}.facet x WHERE x.facet = p_facet AND x.session_id >= p_low AND x.session_id < p_high
        OFFSET 0) x ${byNumber("x.session")}`,
      laterInTime,
      "h.update_time DESC, h.session_id",
    )};
  END IF;
END $$;

-- A page of sessions. Each row has the id in k, and says in v whether something is due.
CREATE FUNCTION ${s}.list(${parameters})
RETURNS TABLE (n bigint[], t bytea[], k bytea, v bytea) LANGUAGE plpgsql STABLE ${INDEXES} AS $$
#variable_conflict use_column
DECLARE
  v_all bigint := ${s}.facet_of(0, p_namespace, '', '');
  v_facets bigint[];
  v_facet bigint;
  v_each bigint;
  v_size bigint;
  v_least bigint;
BEGIN
  IF pg_is_in_recovery() THEN
    PERFORM ${s}.refuse_standby();
  END IF;
  v_facets := ARRAY(
    SELECT ${s}.facet_of(3, p_namespace, l.name, l.value) FROM unnest(p_names, p_values) l(name, value)
    UNION ALL SELECT ${s}.facet_of(2, p_namespace, '', p_user) WHERE p_user IS NOT NULL
    UNION ALL SELECT ${s}.facet_of(1, p_namespace, '', p_workflow) WHERE p_workflow IS NOT NULL);
  v_facet := v_facets[1];
  IF cardinality(v_facets) > 1 THEN
    FOREACH v_each IN ARRAY v_facets LOOP
      SELECT count(*) INTO v_size FROM (SELECT FROM ${s}.facet x WHERE x.facet = v_each LIMIT ${COUNTED}) x;
      IF v_least IS NULL OR v_size < v_least THEN
        v_least := v_size;
        v_facet := v_each;
      END IF;
    END LOOP;
  END IF;

  v_size := NULL;
  IF NOT p_by_time AND (p_after >= 0 OR p_before < 9007199254740991) THEN
    SELECT count(*) INTO v_size FROM (
      SELECT FROM ${s}.activity x WHERE x.facet = coalesce(v_facet, v_all) AND ${times} LIMIT ${FEW + 1}) x;
    IF v_size <= ${FEW} THEN
      v_facet := coalesce(v_facet, v_all);
    END IF;
  ELSIF p_by_time AND p_low <> '' AND v_facet IS NULL THEN
    SELECT count(*) INTO v_size FROM (SELECT FROM ${s}.head x
      WHERE x.live AND x.namespace = p_namespace AND x.session_id >= p_low AND x.session_id < p_high LIMIT ${FEW + 1}) x;
  ELSIF p_by_time AND p_low <> '' THEN
    SELECT count(*) INTO v_size FROM (SELECT FROM ${s}.facet x
      WHERE x.facet = v_facet AND x.session_id >= p_low AND x.session_id < p_high LIMIT ${FEW + 1}) x;
  END IF;
  IF v_size <= ${FEW} THEN
    RETURN QUERY SELECT * FROM ${s}.list_few(v_facet, p_settings, p_namespace, p_by_time, p_workflow, p_user, p_names, p_values,
      p_low, p_high, p_after, p_before, p_from_id, p_from_time, p_count);
  ELSE
    RETURN QUERY SELECT * FROM ${s}.list_many(CASE WHEN p_by_time THEN coalesce(v_facet, v_all) ELSE v_facet END,
      p_settings, p_namespace, p_by_time, p_workflow, p_user, p_names, p_values,
      p_low, p_high, p_after, p_before, p_from_id, p_from_time, p_count);
  END IF;
END $$;
`;
}

/** A page of sessions. @param s the schema, quoted */
export function listing(s: string, query: SessionQuery, settings: Buffer): Statement {
  const { filter, after } = query;
  const labels = Object.entries(filter.labels ?? {});
  const byTime = query.order === "UPDATE_TIME_DESC";
  const prefix = filter.sessionIdPrefix ?? "";
  const parameters = [
    settings,
    text(query.namespace),
    byTime ? "t" : "f",
    filter.workflowId ? text(filter.workflowId) : null,
    filter.userId ? text(filter.userId) : null,
    labels.length === 0 ? null : byteaArray(labels.map(([name]) => name)),
    labels.length === 0 ? null : byteaArray(labels.map(([, value]) => value)),
    text(prefix),
    prefixEnd(prefix),
    filter.updatedAfter === undefined ? -1 : whole(filter.updatedAfter),
    filter.updatedBefore === undefined ? Number.MAX_SAFE_INTEGER : whole(filter.updatedBefore),
    text(after?.sessionId ?? ""),
    after === undefined || !byTime ? Number.MAX_SAFE_INTEGER : whole(after.updateTime),
    whole(query.count),
  ];
  const places = parameters.map((_, i) => `$${i + 1}`).join(",");
  return { sql: `SELECT * FROM ${s}.list(${places})`, parameters };
}
