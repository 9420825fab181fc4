/** `workflow-state serve`: runs a server until it is told to stop; SIGHUP has it read its certificates, callers and their limits anew. */
import { once } from "node:events";
import { WorkflowStateError } from "../errors.ts";
import { openEncodedStore } from "../open.ts";
import { type Observer, observers, type RunningServer, startServer } from "../server.ts";
import type { EncodedStore } from "../store.ts";
import { callLog } from "./call-log.ts";
import { type ServeOptions, type Settings, settingsOf } from "./config.ts";
import { type Logger, openLogger } from "./logger.ts";
import { opened } from "./opened.ts";
import type { OpenTelemetry } from "./telemetry.ts";
import { UsageError } from "./usage-error.ts";
import { version } from "./version.ts";
import { openReachable } from "./waiting.ts";

/** Serves, and settles when a signal has stopped the server. Fails with a {@link UsageError} if it can't begin. */
export async function serve(options: ServeOptions): Promise<void> {
  const settings = settingsOf(options);
  const logger = await openLogger(settings.log);
  // From now on: while it waits for its store, too.
  const signals = listenForSignals(logger);
  try {
    const store = await open(settings, logger, signals.told);
    if (store !== undefined) await serveStore(store, options, settings, logger, signals);
  } finally {
    signals.forget();
  }
}

async function serveStore(
  store: EncodedStore,
  options: ServeOptions,
  settings: Settings,
  logger: Logger,
  signals: Signals,
): Promise<void> {
  let telemetry: OpenTelemetry | undefined;
  // Of a server that never ran there is little to send.
  let end = 0;
  signals.told.addEventListener("abort", () => {
    end = performance.now() + settings.drainTimeoutMs;
  });
  try {
    telemetry = await measured(store, settings, logger);
    const server = await start(telemetry?.store ?? store, settings, logger, telemetry?.observer);
    try {
      signals.onHangUp(() => reload(server, options, logger));
      await untilTold(server, signals.told);
    } finally {
      await server.close({ now: true });
    }
  } finally {
    await telemetry?.close(Math.max(end - performance.now(), LAST_FIGURES_MS));
    await store.close();
  }
}

/** What signals say. Without a listener each of them would end the process at once. */
interface Signals {
  /** Aborts when a first one tells the program to stop; a second one ends the process. */
  readonly told: AbortSignal;
  /** Has this done at each SIGHUP to come, and now if there was one already. */
  onHangUp(reload: () => void): void;
  forget(): void;
}

function listenForSignals(logger: Logger): Signals {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    logger.debug({ signal }, "stopping");
    if (controller.signal.aborted) process.exit(1);
    controller.abort();
  };
  let hungUp = false;
  let reload = (): void => {
    hungUp = true;
  };
  const onHangUp = (): void => reload();
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal).on("SIGHUP", onHangUp);
  return {
    told: controller.signal,
    onHangUp(then) {
      reload = then;
      if (hungUp) reload();
    },
    forget() {
      process.off("SIGTERM", onSignal).off("SIGINT", onSignal).off("SIGHUP", onHangUp);
    },
  };
}

/** How long the last figures and spans may take where the calls took all the time that there was. */
const LAST_FIGURES_MS = 250;

/** Has the server measured, if that is asked for. */
async function measured(
  store: EncodedStore,
  { telemetry: settings, store: url }: Settings,
  logger: Logger,
): Promise<OpenTelemetry | undefined> {
  if (settings === undefined) return undefined;
  // Only now: without it none of the SDK is loaded.
  const { openTelemetry } = await import("./telemetry.ts");
  const [scheme = ""] = /^[a-z]*/i.exec(url) ?? [];
  const system = SYSTEMS[scheme.toLowerCase()] ?? scheme.toLowerCase();
  const warn = (message: string): void => logger.warn(message);
  try {
    const telemetry = await openTelemetry(store, settings, { version: version(), system, warn });
    if (telemetry.metricsUrl !== undefined) logger.info({ url: telemetry.metricsUrl }, "metrics are served");
    return telemetry;
  } catch (error) {
    const { host, port } = settings.metricsListen ?? {};
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UsageError(`can't serve metrics on ${host}, port ${port}: ${code}`, { cause: error });
  }
}

/** What the semantic conventions call what a URL's scheme stands for; the others they call the same. */
const SYSTEMS: Readonly<Record<string, string>> = {
  postgres: "postgresql",
  rediss: "redis",
};

/** Takes certificates, keys, grants and limits anew; what is wrong with them is said, and the old ones stay. */
function reload(server: RunningServer, options: ServeOptions, logger: Logger): void {
  try {
    server.reload(settingsOf(options));
    logger.info("certificates, callers and their limits are reloaded");
  } catch (error) {
    logger.error(`not reloaded: ${(error as Error).message}`);
  }
}

/** Says where the server listens, and stops it when it is told to. */
async function untilTold(server: RunningServer, told: AbortSignal): Promise<void> {
  console.log(`listening on ${server.url}`);
  if (!told.aborted) await once(told, "abort");
  await server.close();
}

/** The store; `undefined`: the program was told to stop before it was there. */
async function open(
  settings: Settings,
  logger: Logger,
  told: AbortSignal,
): Promise<EncodedStore | undefined> {
  const { store, limits, memory, retention, encryption, startTimeoutMs } = settings;
  if (/^https?:/i.test(store)) {
    throw new UsageError("--store can't be another server's address: give clients that one");
  }
  const openOnce = (): Promise<EncodedStore> =>
    openEncodedStore(store, { limits, memory, retention, encryption });
  const say = (message: string): void => logger.warn(message);
  const opening = opened(openReachable(openOnce, startTimeoutMs, say, told));
  const stopped = once(told, "abort").then(() => undefined);
  const first = await Promise.race([opening, stopped]);
  // An attempt that is under way is not waited for.
  if (first === undefined)
    opening.then(
      (late) => late.close(),
      () => {},
    );
  return first;
}

async function start(
  store: EncodedStore,
  settings: Settings,
  logger: Logger,
  observer: Observer | undefined,
): Promise<RunningServer> {
  const { audit, listen, tls, auth, perPrincipal, reflection, limits, drainTimeoutMs } = settings;
  const { connections, cors } = settings;
  try {
    return await startServer({
      store,
      listen,
      ...(tls === undefined ? {} : { tls }),
      ...(auth === undefined ? {} : { auth }),
      connections,
      cors,
      perPrincipal,
      reflection,
      limits,
      drainTimeoutMs,
      onError: (err) => logger.error({ err }, "failed"),
      observer: observers(observer, callLog(logger, { audit })),
    });
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    const where = `${listen.host}, port ${listen.port}`;
    if (code === "EADDRINUSE") {
      throw new UsageError(`can't listen on ${where}: the port is in use`, { cause: error });
    }
    if (syscall !== undefined) {
      throw new UsageError(`can't listen on ${where}: ${code}`, { cause: error });
    }
    if (WorkflowStateError.is(error, "INVALID_REQUEST"))
      throw new UsageError(error.message, { cause: error });
    // All else that can fail at once is the certificate and its key; OpenSSL's words for it quote neither.
    throw new UsageError(`can't use the TLS key and certificate: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
