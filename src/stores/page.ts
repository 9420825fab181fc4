/** The size of a page: by count and by bytes. */
import type { Limits } from "../store.ts";

const DEFAULT_PAGE_SIZE = 100;
/** What an answer holds beside its items. */
const MARGIN_BYTES = 16 << 10;

/** How much a page may hold: so many items, and of bytes so many. */
export interface PageRoom {
  readonly count: number;
  readonly bytes: number;
}

/** How much a page may hold that was asked to be of a size. */
export function pageRoom(pageSize: number | undefined, limits: Limits): PageRoom {
  return {
    count: Math.min(pageSize || DEFAULT_PAGE_SIZE, limits.pageSize),
    bytes: limits.requestBytes - MARGIN_BYTES,
  };
}

/** Collects the items of one page. */
export class PageBuilder<Item> {
  readonly items: Item[] = [];
  readonly #size: number;
  #room: number;

  constructor(pageSize: number | undefined, limits: Limits) {
    const { count, bytes } = pageRoom(pageSize, limits);
    this.#size = count;
    this.#room = bytes;
  }

  /** Whether another item of about so many bytes belongs on the page. The first one always does. */
  fits(bytes: number): boolean {
    this.#room -= bytes;
    return this.items.length === 0 || (this.items.length < this.#size && this.#room >= 0);
  }
}
