/** The URL of a file that holds a store: `sqlite:./state.db`. */
import { invalidUrl } from "./service-url.ts";

/**
 * The path in a URL that begins with `sqlite:`, percent-encoding resolved: `sqlite:state.db` and `sqlite:./state.db` are seen
 * from the working directory, `sqlite:/var/lib/state.db` and `sqlite:///var/lib/state.db` are absolute, and so are
 * `sqlite:C:\state.db` and `sqlite:///C:/state.db` on Windows. Fails with INVALID_REQUEST, in words that don't repeat the URL.
 */
export function sqlitePath(url: string): string {
  const rest = url.slice(url.indexOf(":") + 1);
  if (/[?#]/.test(rest)) {
    throw invalidUrl("The URL of a SQLite file has no options: write a ? in its path as %3F and a # as %23.");
  }
  // An authority would be taken for the path's first part: sqlite://state.db.
  if (/^\/\/[^/]/.test(rest)) {
    throw invalidUrl("Write the URL of a SQLite file as sqlite:./relative.db or sqlite:///absolute.db.");
  }
  const path = decoded(rest.replace(/^\/\//, ""));
  if (path === "" || path.includes("\0")) {
    throw invalidUrl("The URL of a SQLite file says where it is: sqlite:./state.db.");
  }
  if (/^:memory:/.test(path)) throw invalidUrl("A store in memory is memory:, without SQLite.");
  return path.replace(/^\/(?=[a-z]:[\\/])/i, "");
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidUrl("The URL of a SQLite file has a % that begins no escape: write it as %25.");
  }
}
