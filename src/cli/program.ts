/** The program's commands and options, and what its exit code says. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError, Option } from "commander";
import type { ServeOptions } from "./config.ts";
import { serve } from "./serve.ts";
import { UsageError } from "./usage-error.ts";

/** Runs the program with its arguments. Gives the exit code: 0 when all is well, 2 when it was started wrongly, 1 when it failed. */
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
    console.error(error);
    return 1;
  }
}

function program(): Command {
  const commands = new Command("workflow-state")
    .description("Keeps the state of workflow sessions.")
    .version(version())
    .exitOverride();
  commands
    .command("serve")
    .description(
      "Serve a store over gRPC, gRPC-Web and Connect until SIGTERM or SIGINT; a second signal does not wait.",
    )
    .addOption(
      new Option("--config <file>", "JSON file with these settings (listen, store, tlsKey …) and limits").env(
        "WORKFLOW_STATE_CONFIG",
      ),
    )
    .addOption(
      new Option(
        "--listen <host:port>",
        "where to listen; port 0 takes a free one (default: 127.0.0.1:7410)",
      ).env("WORKFLOW_STATE_LISTEN"),
    )
    .addOption(
      new Option("--store <url>", "where state lives (default: memory:)").env("WORKFLOW_STATE_STORE"),
    )
    .addOption(new Option("--tls-key <file>", "PEM file with the TLS key").env("WORKFLOW_STATE_TLS_KEY"))
    .addOption(
      new Option("--tls-cert <file>", "PEM file with the TLS certificate chain").env(
        "WORKFLOW_STATE_TLS_CERT",
      ),
    )
    .addOption(
      new Option("--drain-timeout <time>", "how long calls may take to finish at the end (default: 10s)").env(
        "WORKFLOW_STATE_DRAIN_TIMEOUT",
      ),
    )
    .addOption(
      new Option(
        "--insecure-no-auth",
        "listen beyond this machine, although nobody is asked who they are (env: WORKFLOW_STATE_INSECURE_NO_AUTH=1)",
      ),
    )
    .action((_, command: Command) => serve(optionsOf(command)));
  return commands;
}

/** What options and the environment say. */
function optionsOf(command: Command): ServeOptions {
  const given = Object.entries(command.opts<Record<string, string | boolean>>()).filter(
    // A variable that is there but empty is how containers say "not set".
    ([name, value]) => value !== "" || command.getOptionValueSource(name) !== "env",
  );
  // Commander would take any text in the variable for a yes, "false" too.
  const insecure = process.env["WORKFLOW_STATE_INSECURE_NO_AUTH"] === "1" ? { insecureNoAuth: true } : {};
  return { ...insecure, ...Object.fromEntries(given) };
}

/** The version in the package's own package.json, as far above dist/src/cli or src/cli as it is. */
function version(): string {
  const inSource = join(import.meta.dirname, "../../package.json");
  const path = existsSync(inSource) ? inSource : join(import.meta.dirname, "../../../package.json");
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}
