/** The program's commands and options, and what its exit code says. */
import { Command, CommanderError, Option } from "commander";
import { WorkflowStateError } from "../errors.ts";
import type { ServeOptions } from "./config.ts";
import type { CopyCommandOptions } from "./copy.ts";
import type { ExportCommandOptions } from "./export.ts";
import { healthcheck } from "./healthcheck.ts";
import type { ImportCommandOptions } from "./import.ts";
import type { MovingOptions } from "./moving-command.ts";
import { newKey } from "./new-key.ts";
import { serve } from "./serve.ts";
import { Failure, UsageError } from "./usage-error.ts";
import { version } from "./version.ts";

/**
 * Runs the program with its arguments. Gives the exit code: 0 when all is well, 2 when it was started wrongly, 1 when it failed,
 * 130 when it was interrupted before its end.
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`workflow-state: ${error.message}`);
      return 2;
    }
    if (error instanceof CommanderError) {
      // Commander has said it; help and the version come this way too.
      return error.exitCode === 0 ? 0 : 2;
    }
    if (error instanceof Failure || WorkflowStateError.is(error)) {
      console.error(`workflow-state: ${error.message}`);
      return error instanceof Failure ? error.exitCode : 1;
    }
    console.error(error);
    return 1;
  }
}

function program(): Command {
  const commands = new Command("workflow-state")
    .description("Keeps the state of workflow sessions.")
    .version(version())
    .exitOverride();
  addServe(commands);
  addMoving(commands);
  commands
    .command("new-key")
    .description("Make a preshared key, and its hash for the config file.")
    .action(() => newKey());
  commands
    .command("healthcheck")
    .description("Ask a server whether it is ready; the exit code says so.")
    .addOption(option("--url <url>", "the server (default: http://127.0.0.1:7410)"))
    .action((_, command: Command) => healthcheck(optionsOf(command)));
  return commands;
}

function addServe(commands: Command): void {
  commands
    .command("serve")
    .description(
      "Serve a store over gRPC, gRPC-Web and Connect until SIGTERM or SIGINT; a second signal does not wait.",
    )
    .addOption(
      option("--config <file>", "JSON file with these settings (listen, store, tlsKey …) and limits"),
    )
    .addOption(
      option("--listen <host:port>", "where to listen; port 0 takes a free one (default: 127.0.0.1:7410)"),
    )
    .addOption(option("--store <url>", "where state lives (default: memory:)"))
    .addOption(option("--encryption-keys <file>", "file of the keys that values are encrypted with"))
    .addOption(option("--history <count>", "how many revisions of a session are kept (default: 256)"))
    .addOption(option("--history-age <time>", "how long a revision is kept at most (default: 1d)"))
    .addOption(
      option("--request-retention <time>", "how long the answer to a request id is kept (default: 10m)"),
    )
    .addOption(option("--tls-key <file>", "PEM file with the TLS key"))
    .addOption(option("--tls-cert <file>", "PEM file with the TLS certificate chain"))
    .addOption(option("--tls-client-ca <file>", "PEM file with the authorities of client certificates"))
    .addOption(
      new Option("--reflection", "tell generic clients the schema (default: only on a loopback address)"),
    )
    .addOption(option("--start-timeout <time>", "how long the store is waited for at first (default: 60s)"))
    .addOption(
      option("--drain-timeout <time>", "how long calls may take to finish at the end (default: 10s)"),
    )
    .addOption(option("--max-connections <count>", "how many connections there may be (default: 10000)"))
    .addOption(
      option(
        "--max-connection-age <time>",
        "how old a connection may get, a tenth more or less (default: off)",
      ),
    )
    .addOption(
      option(
        "--max-connection-age-grace <time>",
        "how long calls may go on when their connection is too old (default: 10s)",
      ),
    )
    .addOption(
      option("--max-connection-idle <time>", "how long a connection may be without a call (default: 5m)"),
    )
    .addOption(
      option("--write-timeout <time>", "how long a caller may take nothing of its answer (default: 60s)"),
    )
    .addOption(
      option(
        "--max-buffered-bytes <bytes>",
        "how much memory answers may take until their callers do (default: 256MiB)",
      ),
    )
    .addOption(
      option(
        "--cors-origin <origin>",
        "a page's origin that may call; several: repeat it, or a comma between each two (default: none)",
      ).argParser((origin, before: string | undefined) =>
        before === undefined ? origin : `${before},${origin}`,
      ),
    )
    .addOption(option("--log-level <level>", "debug (a line a call), info, warn or error (default: info)"))
    .addOption(
      option("--log-format <format>", "json or pretty (default: pretty on a terminal, json elsewhere)"),
    )
    .addOption(
      option(
        "--metrics <host:port>",
        "serve /metrics to Prometheus, to whoever reaches that address; the host may be left out: 127.0.0.1",
      ),
    )
    .addOption(
      new Option("--trace-session-ids", "tell the ids of sessions in traces, which OTEL_ variables turn on"),
    )
    .addOption(
      new Option("--audit", "log each write: who, what session and keys, the revision, what became of it"),
    )
    .addOption(
      new Option(
        "--insecure-no-auth",
        "listen beyond this machine, although nobody is asked who they are (env: WORKFLOW_STATE_INSECURE_NO_AUTH=1)",
      ),
    )
    .action((_, command: Command) => {
      // Commander would take any text in the variable for a yes, "false" too.
      const insecure = process.env["WORKFLOW_STATE_INSECURE_NO_AUTH"] === "1" ? { insecureNoAuth: true } : {};
      return serve({ ...insecure, ...optionsOf<ServeOptions>(command) });
    });
}

/** The commands that move what a store keeps; loaded only when they run. */
function addMoving(commands: Command): void {
  const config = (what: string): Option =>
    option("--config <file>", `the server's config file, for its ${what}`);
  const store = (): Option => option("--store <url>", "the store: sqlite:, postgres: or redis:");
  const keys = (what: string): Option => option("--encryption-keys <file>", what);
  const overwrite = (): Option =>
    new Option("--overwrite", "put sessions in the place of others that the target has under their ids");
  commands
    .command("copy")
    .description("Copy every session from one store to another, with its history. Run again, it goes on.")
    .addOption(option("--from <url>", "the store to copy from"))
    .addOption(option("--to <url>", "the store to copy to"))
    .addOption(overwrite())
    .addOption(config("limits and retention"))
    .action(async (_, command: Command) => {
      const { copy } = await import("./copy.ts");
      await copy(optionsOf<CopyCommandOptions>(command));
    });
  commands
    .command("export")
    .description("Write everything that a store keeps as JSON Lines.")
    .addOption(store())
    .addOption(new Option("--output <file>", "where to write (default: stdout)"))
    .addOption(keys("decrypt values with these keys; without, encrypted ones are written as they are"))
    .addOption(config("store, limits and retention; not for its keys"))
    .action(async (_, command: Command) => {
      const { exportStore } = await import("./export.ts");
      await exportStore(optionsOf<ExportCommandOptions>(command));
    });
  commands
    .command("import")
    .description("Put the sessions of an export into a store. Run again, it goes on.")
    .addOption(store())
    .addOption(new Option("--input <file>", "what to read (default: stdin)"))
    .addOption(keys("encrypt values with the first of these keys"))
    .addOption(overwrite())
    .addOption(config("store, limits, retention and keys"))
    .action(async (_, command: Command) => {
      const { importStore } = await import("./import.ts");
      await importStore(optionsOf<ImportCommandOptions>(command));
    });
  commands
    .command("rotate-keys")
    .description(
      "Encrypt what is under older keys with the first one. Servers may run; run again, it goes on.",
    )
    .addOption(store())
    .addOption(keys("the keys, the new one first"))
    .addOption(config("store, limits, retention and keys"))
    .action(async (_, command: Command) => {
      const { rotate } = await import("./rotate-keys.ts");
      await rotate(optionsOf<MovingOptions>(command));
    });
}

/** An option that a variable of the environment can give too: WORKFLOW_STATE_ and its name. */
function option(flags: string, description: string): Option {
  const made = new Option(flags, description);
  return made.env(`WORKFLOW_STATE_${made.name().toUpperCase().replaceAll("-", "_")}`);
}

/** What options and the environment say. */
function optionsOf<Options>(command: Command): Options {
  const given = Object.entries(command.opts<Record<string, string | boolean>>()).filter(
    // A variable that is there but empty is how containers say "not set".
    ([name, value]) => value !== "" || command.getOptionValueSource(name) !== "env",
  );
  return Object.fromEntries(given) as Options;
}
