/** Files that an operator gives: what is wrong with a config file or an export is said in words, never by an exception of ours. */
import { writeFileSync } from "node:fs";
import { settingsOf } from "../../src/cli/config.ts";
import { linesOf } from "../../src/cli/line-fields.ts";
import { checkFirstLine, readLine } from "../../src/cli/line-records.ts";
import { answerKeeper } from "../../src/cli/sealing.ts";
import { UsageError } from "../../src/cli/usage-error.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { SessionKey } from "../../src/stores/backend.ts";
import { Keyring } from "../../src/stores/keyring.ts";
import type { Random } from "../support/random.ts";
import { type Domain, Finding } from "./domain.ts";
import { mutatedBytes, mutatedJson } from "./mutate.ts";

const CONFIG = {
  listen: "127.0.0.1:7410",
  store: "memory:",
  drainTimeout: "5s",
  reflection: true,
  auth: {
    keys: [
      {
        sha256: "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
        principal: "ci",
        namespaces: ["a"],
      },
    ],
    jwt: {
      issuer: "https://i.example",
      audience: "a",
      algorithms: ["RS256"],
      jwksUrl: "https://i.example/keys",
    },
    grants: [{ principal: "ci", action: "write", namespace: "a", sessionIdPrefix: "ci/" }],
  },
  perPrincipal: { calls: 5, streams: 5, operationsPerSecond: 5, burst: 5 },
  limits: { valueBytes: 1000, changes: 4 },
  memory: { history: 5, maxBytes: 100000 },
};

const METADATA = { createTime: 1000, labels: { l: "1" } };
const EXPORT: readonly object[] = [
  { format: "workflow-state-export", version: 1 },
  {
    type: "session",
    namespace: "",
    sessionId: "s",
    revision: 3,
    born: 0,
    oldest: 1,
    expiredRevision: 0,
    metadataRevision: 1,
    updateTime: 3000,
    activeTime: 3000,
    metadata: METADATA,
  },
  { type: "entry", key: "k", revision: 3, updateTime: 3000, value: { a: ["x"] } },
  { type: "entry", key: "k", revision: 1, updateTime: 1000, ended: 3, value: 1 },
  { type: "event", revision: 3, kind: "COMMITTED", time: 3000, metadata: METADATA, keys: [{ key: "k" }] },
  {
    type: "request",
    requestId: "r",
    time: 3000,
    fingerprint: "abcdefghijklmnopqrstuvwx",
    revision: 3,
    updateTime: 3000,
    wrote: true,
    kept: "AQID",
  },
  { type: "end", sessions: 1 },
];
const RULES = {
  limits: DEFAULT_LIMITS,
  seal: sameValue,
  keep: sameValue,
  remember: answerKeeper(new Keyring([{ key: new Uint8Array(32) }])),
};

function sameValue(_: SessionKey, __: string, value: Uint8Array): Uint8Array {
  return value;
}

/** Fuzzes config files and exports, in this process. */
export function filesDomain(configPath: string): Domain {
  return {
    name: "files",
    async step(random: Random): Promise<void> {
      const text = random.chance(0.5) ? mutatedJson(random, CONFIG) : mutatedExport(random);
      const isConfig = text.startsWith("{") && !text.includes('"workflow-state-export"');
      try {
        if (isConfig) {
          writeFileSync(configPath, text);
          settingsOf({ config: configPath });
        } else await readExport(Buffer.from(text));
      } catch (error) {
        if (error instanceof UsageError || WorkflowStateError.is(error)) return;
        throw new Finding(`A file is answered with ${String(error)}`, text, { cause: error });
      }
    },
  };
}

function mutatedExport(random: Random): string {
  const lines = EXPORT.map((line) => (random.chance(0.2) ? mutatedJson(random, line) : JSON.stringify(line)));
  if (random.chance(0.3))
    lines.splice(random.between(0, lines.length), random.between(0, 2), random.one(lines));
  const text = `${lines.join("\n")}\n`;
  return random.chance(0.2) ? mutatedBytes(random, Buffer.from(text)).toString("latin1") : text;
}

async function readExport(bytes: Uint8Array): Promise<void> {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 50) yield bytes.subarray(at, at + 50);
  }
  let session: SessionKey | undefined;
  let isFirst = true;
  for await (const line of linesOf(chunks(), 1 << 24)) {
    if (isFirst) checkFirstLine(line);
    else {
      const said = readLine(line, session, RULES);
      if (said.type === "session") session = said.session;
    }
    isFirst = false;
  }
}
