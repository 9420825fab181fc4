/** What the lines of one session must be together: a file may have been cut, joined or edited. */
import type { Limits } from "../store.ts";
import { checkSessionSize } from "../stores/failures.ts";
import { utf8Length } from "../validate.ts";
import { atLine, wrongLine } from "./line-fields.ts";
import type { Piece, Said } from "./line-records.ts";

/** What keeps a file honest about a session as a whole: its records must fit each other. */
export class SessionChecks {
  readonly #line: number;
  readonly #head: Extract<Said, { type: "session" }>["head"];
  readonly #versions = new Set<string>();
  readonly #live = new Set<string>();
  readonly #requests = new Set<string>();
  /** The entries that events name, and where. */
  readonly #named = new Map<string, number>();
  readonly #limits: Limits;
  #next: number;
  /** Bytes of the live entries. */
  #bytes = 0;

  /** @param line where the session begins */
  constructor(line: number, head: Extract<Said, { type: "session" }>["head"], limits: Limits) {
    this.#line = line;
    this.#head = head;
    this.#limits = limits;
    this.#next = head.oldest;
  }

  /** Checks one of its records against the head and those before. */
  add(line: number, piece: Piece): void {
    const { revision } = this.#head;
    switch (piece.kind) {
      case "version": {
        const last = piece.ended ?? piece.revision;
        if (last > revision) throw wrongLine(line, "an entry must not be after its session's revision");
        const version = `${piece.revision} ${piece.key}`;
        if (this.#versions.has(version) || (piece.ended === undefined && this.#live.has(piece.key))) {
          throw wrongLine(line, "the same entry is there twice");
        }
        this.#versions.add(version);
        if (piece.ended !== undefined) return;
        if (this.#head.metadata === undefined)
          throw wrongLine(line, "an entry of a session that ended must have ended too");
        this.#live.add(piece.key);
        this.#bytes += utf8Length(piece.key) + (piece.value?.length ?? 0);
        return;
      }
      case "event":
        if (piece.revision !== this.#next)
          throw wrongLine(line, "events must have all revisions from oldest on, in order");
        this.#next++;
        if (
          piece.revision === revision &&
          (piece.moment.metadata === undefined) !== (this.#head.metadata === undefined)
        ) {
          throw wrongLine(line, "the last event must end the session exactly if it has no metadata");
        }
        for (const { key, removed } of piece.keys) {
          if (!removed) this.#named.set(`${piece.revision} ${key}`, line);
        }
        return;
      case "request":
        if (this.#requests.has(piece.requestId)) throw wrongLine(line, "the same request id is there twice");
        this.#requests.add(piece.requestId);
    }
  }

  /** Checks that nothing is missing at the end. */
  end(): void {
    for (const [version, line] of this.#named) {
      if (!this.#versions.has(version)) throw wrongLine(line, "an event must name entries that are there");
    }
    if (this.#next !== this.#head.revision + 1) {
      throw wrongLine(this.#line, "the session's events end before its revision");
    }
    try {
      const size = { entries: this.#live.size, bytes: this.#bytes };
      checkSessionSize({ entries: 0, bytes: 0 }, size, this.#limits);
    } catch (error) {
      throw atLine(this.#line, error);
    }
  }
}
