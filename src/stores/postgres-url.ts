/** The URL of a PostgreSQL store: `postgres://user:password@host:5432/database?schema=…`. */
import pg from "pg";
import { WorkflowStateError } from "../errors.ts";

/** What a URL says. */
export interface PostgresUrl {
  /** For the driver. */
  readonly config: pg.ClientConfig;
  /** The schema, quoted for SQL. */
  readonly schema: string;
}

const SCHEMA = "workflow_state";
/** What is handed on to the driver. */
const HANDED_ON: ReadonlySet<string> = new Set([
  "host",
  "port",
  "user",
  "password",
  "ssl",
  "sslmode",
  "sslcert",
  "sslkey",
  "sslrootcert",
  "sslnegotiation",
  "uselibpqcompat",
  "application_name",
  "options",
]);

/**
 * Reads a URL. Its parameter `schema` names the schema (`workflow_state` unless given); the others are those of PostgreSQL that
 * say how to connect. Fails with INVALID_REQUEST, without repeating what may be a secret.
 */
export function readUrl(url: string): PostgresUrl {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw invalid("is not a URL: write postgres://user:password@host:5432/database");
  }
  if (parsed.protocol !== "postgres:" && parsed.protocol !== "postgresql:") {
    throw invalid("must begin with postgres:// or postgresql://");
  }
  const { searchParams } = parsed;
  const schema = searchParams.get("schema") ?? SCHEMA;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
    throw invalid("has a schema that is no name: use up to 63 letters a to z, digits and _, a letter first");
  }
  searchParams.delete("schema");
  for (const name of searchParams.keys()) {
    if (!HANDED_ON.has(name))
      throw invalid(`has a parameter ${JSON.stringify(name)} that means nothing here`);
  }
  // What the modes mean is what PostgreSQL says of them: "require" encrypts, and looks at no certificate.
  const sslmode = searchParams.get("sslmode");
  if (sslmode !== null && sslmode !== "no-verify" && !searchParams.has("uselibpqcompat")) {
    if (!["disable", "prefer", "require", "verify-ca", "verify-full"].includes(sslmode)) {
      throw invalid("has an unknown sslmode: use disable, require, verify-ca or verify-full");
    }
    searchParams.set("uselibpqcompat", "true");
  }
  const config: pg.ClientConfig = { connectionString: parsed.href, application_name: "workflow-state" };
  try {
    // Reads the certificates, so that what is wrong with them is said at once.
    new pg.Client(config);
  } catch {
    throw invalid("has parameters that do not fit, or names a certificate that can't be read");
  }
  return { config, schema: `"${schema}"` };
}

function invalid(what: string): WorkflowStateError {
  return new WorkflowStateError("INVALID_REQUEST", `The URL of the PostgreSQL store ${what}.`, {
    metadata: { field: "url" },
  });
}
