/** `workflow-state serve`: runs a server until it is told to stop; SIGHUP has it read its certificates and callers anew. */
import { openEncodedStore } from "../open.ts";
import { type RunningServer, startServer } from "../server.ts";
import type { EncodedStore } from "../store.ts";
import { type ServeOptions, type Settings, settingsOf } from "./config.ts";
import { opened } from "./opened.ts";
import { UsageError } from "./usage-error.ts";

/** Serves, and settles when a signal has stopped the server. Fails with a {@link UsageError} if it can't begin. */
export async function serve(options: ServeOptions): Promise<void> {
  const settings = settingsOf(options);
  const store = await open(settings);
  try {
    const server = await start(store, settings);
    try {
      await untilStopped(server, options);
    } finally {
      await server.close({ now: true });
    }
  } finally {
    await store.close();
  }
}

/** Takes certificates, keys and grants anew; what is wrong with them is said, and the old ones stay. */
function reload(server: RunningServer, options: ServeOptions): void {
  try {
    server.reload(settingsOf(options));
    console.error("workflow-state: certificates and callers are reloaded");
  } catch (error) {
    console.error(`workflow-state: not reloaded: ${(error as Error).message}`);
  }
}

/** Says where the server listens, and settles when a first signal has stopped it; a second one ends the process. */
async function untilStopped(server: RunningServer, options: ServeOptions): Promise<void> {
  const { promise: signalled, resolve: onFirst } = Promise.withResolvers<void>();
  let signals = 0;
  const onSignal = (): void => {
    signals++;
    if (signals > 1) {
      process.exit(1);
    }
    onFirst();
  };
  const onHangUp = (): void => reload(server, options);
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal).on("SIGHUP", onHangUp);
  try {
    console.log(`listening on ${server.url}`);
    await signalled;
    await server.close();
  } finally {
    process.off("SIGTERM", onSignal).off("SIGINT", onSignal).off("SIGHUP", onHangUp);
  }
}

async function open({ store, limits, memory, retention, encryption }: Settings): Promise<EncodedStore> {
  if (/^https?:/i.test(store)) {
    throw new UsageError("--store can't be another server's address: give clients that one");
  }
  return opened(openEncodedStore(store, { limits, memory, retention, encryption }));
}

async function start(store: EncodedStore, settings: Settings): Promise<RunningServer> {
  const { listen, tls, auth, perPrincipal, reflection, limits, drainTimeoutMs } = settings;
  try {
    return await startServer({
      store,
      listen,
      ...(tls === undefined ? {} : { tls }),
      ...(auth === undefined ? {} : { auth }),
      perPrincipal,
      reflection,
      limits,
      drainTimeoutMs,
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
    // All else that can fail at once is the certificate and its key; OpenSSL's words for it quote neither.
    throw new UsageError(`can't use the TLS key and certificate: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
