/** The interface that programs use, over any encoded store: the one place where values are encoded and decoded. */
import {
  type CallContext,
  type CallOptions,
  DEFAULT_LIMITS,
  type Draft,
  type EncodedStore,
  type Limits,
  type UpdateOptions,
  type WorkflowStateStore,
} from "../store.ts";
import { decodeValue } from "../value.ts";
import {
  encodeAt,
  fromCommit,
  fromEntry,
  fromEvent,
  fromResult,
  fromSession,
  fromSessionChange,
  fromWatchMessage,
  toBatch,
  toCommit,
  toContent,
  toFilter,
  toValues,
  wholeMs,
} from "./json-form.ts";
import { mapIterable } from "./map-iterable.ts";
import type { PreparedBatch } from "./prepared-batch.ts";
import { Updater } from "./update.ts";

/** Options of {@link jsonStore}. */
export interface JsonStoreOptions {
  /** What values may be; where the store itself allows less, it refuses the rest. Absent: the defaults. */
  readonly limits?: Partial<Limits> | undefined;
  /** The tenant that every call is for; absent: `""`, the default one. */
  readonly namespace?: string | undefined;
}

/**
 * The store of workflow sessions in plain JSON, over an encoded store. Closing it closes that.
 *
 * A value is encoded before a method returns its promise, so a later change by the caller changes nothing. Options that are
 * `undefined` count as absent.
 */
export function jsonStore(encoded: EncodedStore, options: JsonStoreOptions = {}): WorkflowStateStore {
  const { namespace } = options;
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const updater = new Updater(encoded, limits, namespace);
  const context = (call: CallOptions): CallContext => ({ namespace, signal: call.signal });

  return {
    encoded,

    async getSession(sessionId, call) {
      const { atRevision, keyPrefix, ...rest } = call ?? {};
      const session = await encoded.getSession({ sessionId, atRevision, keyPrefix }, context(rest));
      return session && fromSession(session);
    },

    async saveSession(session, call) {
      const { ifRevision, ttlMs, idleTtlMs, requestId, requestFingerprint, ...rest } = call ?? {};
      const request = {
        session: toContent(session, limits),
        ifRevision,
        ttlMs: wholeMs(ttlMs),
        idleTtlMs: wholeMs(idleTtlMs),
        requestId,
        requestFingerprint,
      };
      return fromSession(await encoded.saveSession(request, context(rest)));
    },

    async deleteSession(sessionId, call) {
      const { ifRevision, requestId, requestFingerprint, ...rest } = call ?? {};
      return encoded.deleteSession({ sessionId, ifRevision, requestId, requestFingerprint }, context(rest));
    },

    async getAllSessionIds(call) {
      const ids: string[] = [];
      let pageToken = "";
      do {
        const page = await encoded.listSessions(
          { view: "IDS", order: "ID", pageSize: limits.pageSize, pageToken },
          context(call ?? {}),
        );
        for (const { sessionId } of page.sessions) ids.push(sessionId);
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      return ids;
    },

    async getState<T>(sessionId: string, key: string, call?: Call<"getState", 2>) {
      const { atRevision, ...rest } = call ?? {};
      const entry = await encoded.getState({ sessionId, key, atRevision }, context(rest));
      return entry?.value === undefined ? undefined : (decodeValue(entry.value) as T);
    },

    async setState(sessionId, key, value, call) {
      const { ifRevision, ttlMs, requestId, requestFingerprint, ...rest } = call ?? {};
      const request = {
        sessionId,
        key,
        value: encodeAt(key, value, limits),
        ifRevision,
        ttlMs: wholeMs(ttlMs),
        requestId,
        requestFingerprint,
      };
      return fromEntry(await encoded.setState(request, context(rest)));
    },

    async getEntry(sessionId, key, call) {
      const { atRevision, ...rest } = call ?? {};
      const entry = await encoded.getState({ sessionId, key, atRevision }, context(rest));
      return entry && fromEntry(entry);
    },

    async deleteState(sessionId, key, call) {
      const { ifRevision, requestId, requestFingerprint, ...rest } = call ?? {};
      return encoded.deleteState(
        { sessionId, key, ifRevision, requestId, requestFingerprint },
        context(rest),
      );
    },

    async listState(sessionId, call) {
      const { keyPrefix, startAfter, reverse, atRevision, pageSize, pageToken, ...rest } = call ?? {};
      const { entries, nextPageToken } = await encoded.listState(
        { sessionId, keyPrefix, startAfter, reverse, atRevision, pageSize, pageToken },
        context(rest),
      );
      return { entries: entries.map(fromEntry), nextPageToken };
    },

    async listSessions(call) {
      const { view, order, pageSize, pageToken, signal, ...filter } = call ?? {};
      const { sessions, nextPageToken } = await encoded.listSessions(
        { ...toFilter(filter), view, order, pageSize, pageToken },
        context({ signal }),
      );
      return { sessions: sessions.map(fromSession), nextPageToken };
    },

    async commit(sessionId, call) {
      const { signal, ...commit } = call ?? {};
      return fromCommit(
        await encoded.commit(toCommit({ ...commit, sessionId }, limits), context({ signal })),
      );
    },

    async update<State extends object = Draft, R = unknown>(
      sessionId: string,
      change: (draft: State) => R | Promise<R>,
      call?: UpdateOptions,
    ) {
      // The type of the state is the caller's word.
      return updater.update(sessionId, change as unknown as (draft: Draft) => R | Promise<R>, call ?? {});
    },

    async batch(operations, call) {
      const batch = toBatch(operations, limits);
      return batch.answer(await encoded.batch(batch.operations, context(call ?? {}))).map(fromResult);
    },

    pipeline(batches, call) {
      // Those that are not answered yet; a store answers in order.
      const asked: PreparedBatch[] = [];
      const input = mapIterable(batches, (operations) => {
        const batch = toBatch(operations, limits);
        asked.push(batch);
        return batch.operations;
      });
      return stream(() =>
        mapIterable(encoded.pipeline(input, context(call ?? {})), (results) =>
          (asked.shift()?.answer(results) ?? []).map(fromResult),
        ),
      );
    },

    async forkSession(sessionId, newSessionId, call) {
      const { atRevision, requestId, requestFingerprint, values, ...rest } = call ?? {};
      const request = {
        sessionId,
        newSessionId,
        atRevision,
        requestId,
        requestFingerprint,
        values: toValues(values, limits),
      };
      return fromSession(await encoded.forkSession(request, context(rest)));
    },

    async restoreSession(sessionId, atRevision, call) {
      const { ifRevision, requestId, requestFingerprint, values, ...rest } = call ?? {};
      const request = {
        sessionId,
        atRevision,
        ifRevision,
        requestId,
        requestFingerprint,
        values: toValues(values, limits),
      };
      return fromSession(await encoded.restoreSession(request, context(rest)));
    },

    async listEvents(sessionId, call) {
      const { afterRevision, reverse, pageSize, pageToken, ...rest } = call ?? {};
      const { events, nextPageToken } = await encoded.listEvents(
        { sessionId, afterRevision, reverse, pageSize, pageToken },
        context(rest),
      );
      return { events: events.map(fromEvent), nextPageToken };
    },

    watchSession(sessionId, call) {
      const { afterRevision, keyPrefix, ...rest } = call ?? {};
      const request = { sessionId, afterRevision, keyPrefix };
      return stream(() => mapIterable(encoded.watchSession(request, context(rest)), fromWatchMessage));
    },

    watchSessions(call) {
      const { signal, ...filter } = call ?? {};
      return stream(() =>
        mapIterable(encoded.watchSessions(toFilter(filter), context({ signal })), fromSessionChange),
      );
    },

    close() {
      return encoded.close();
    },

    [Symbol.asyncDispose]() {
      return encoded.close();
    },
  };
}

/** An argument of a method. */
type Call<Method extends "getState", At extends keyof Parameters<WorkflowStateStore[Method]>> = Parameters<
  WorkflowStateStore[Method]
>[At];

/** What `open` gives; if it throws, an iterable that does so when it is read: where errors of streams are looked for. */
function stream<T>(open: () => AsyncIterable<T>): AsyncIterable<T> {
  try {
    return open();
  } catch (error) {
    return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) };
  }
}
