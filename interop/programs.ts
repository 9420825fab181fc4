/** The clients' programs: which there are, what they speak, and how one is run. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..");
/** A program that takes longer hangs. */
const LONGEST_MS = 300_000;

/** A client that has a program, or is to have one. */
export interface Language {
  /** Also the name of its folder in `clients/`. */
  readonly name: string;
  readonly title: string;
  readonly protocols: readonly Protocol[];
  /** What runs its program. */
  readonly command: readonly string[];
}

/** What PROTOCOL may be. */
export type Protocol = "grpc" | "grpc-web" | "connect" | "connect-json";

/** What a program says of one vector or case. */
export interface Line {
  readonly name: string;
  readonly ok: boolean;
  readonly message?: string;
}

/** What to call a protocol. */
export const TITLES: Readonly<Record<Protocol, string>> = {
  grpc: "gRPC",
  "grpc-web": "gRPC-Web",
  connect: "Connect",
  "connect-json": "Connect in JSON",
};

const script = (name: string): readonly string[] => [join(ROOT, "clients", name, "interop.sh")];

/** All clients of this project, in the order of the tables. */
export const LANGUAGES: readonly Language[] = [
  {
    name: "typescript",
    title: "TypeScript",
    protocols: ["grpc", "grpc-web", "connect", "connect-json"],
    command: [process.execPath, join(import.meta.dirname, "typescript.ts")],
  },
  { name: "python", title: "Python", protocols: ["grpc"], command: script("python") },
  { name: "go", title: "Go", protocols: ["grpc", "grpc-web", "connect"], command: script("go") },
  { name: "java", title: "Java", protocols: ["grpc"], command: script("java") },
  { name: "rust", title: "Rust", protocols: ["grpc"], command: script("rust") },
  { name: "cpp", title: "C++", protocols: ["grpc"], command: script("cpp") },
  { name: "csharp", title: "C#", protocols: ["grpc"], command: script("csharp") },
];

/** Whether a language's program is in the checkout. */
export function hasProgram({ command }: Language): boolean {
  return existsSync(command[0] ?? "");
}

/** Runs a program to its end and gives what it says, by name. Fails if it could not run, or left something out. */
export async function run(
  { title, command }: Language,
  args: {
    command: "write" | "read" | "behave";
    url: string;
    protocol: Protocol;
    prefix: string;
    file: string;
  },
  names: readonly string[],
): Promise<Line[]> {
  const [program = "", ...first] = command;
  const env = Object.entries(process.env).filter(
    ([name]) => !/^(?:WORKFLOW_STATE_|NODE_OPTIONS|VITEST)/.test(name),
  );
  const child = spawn(program, [...first, args.command, args.url, args.protocol, args.prefix, args.file], {
    env: Object.fromEntries(env),
    stdio: ["ignore", "pipe", "pipe"],
    timeout: LONGEST_MS,
    killSignal: "SIGKILL",
  });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const [status, signal] = (await once(child, "close")) as [number | null, string | null];
  const what = `${title}'s ${args.command} over ${TITLES[args.protocol]}`;
  if (status !== 0) throw new Error(`${what} ended with ${status ?? signal}: ${errors.slice(-2000)}`);
  const lines = new Map<string, Line>();
  for (const text of output.split("\n").filter((line) => line !== "")) {
    const line = JSON.parse(text) as Line;
    if (lines.has(line.name))
      throw new Error(`${what} says something twice of ${JSON.stringify(line.name)}.`);
    lines.set(line.name, line);
  }
  if (lines.size !== names.length)
    throw new Error(`${what} has ${lines.size} lines, and should have ${names.length}.`);
  return names.map((name) => {
    const line = lines.get(name);
    if (line === undefined) throw new Error(`${what} says nothing of ${JSON.stringify(name)}.`);
    return line;
  });
}
