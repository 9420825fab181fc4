/**
 * `npm run sample:browser [-- URL]`: the cart in a browser. Bundles the page, and serves it with the service behind `/state`, so
 * that for the browser both are one host.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build, preview } from "vite";
import { withServer } from "../with-server.ts";

/** A page that is served. */
export interface ServedPage {
  readonly url: string;
  close(): Promise<void>;
}

/** Bundles the page and serves it on this machine; port 0 takes a free one. */
export async function servePage(service: string, port: number): Promise<ServedPage> {
  const outDir = mkdtempSync(join(tmpdir(), "workflow-state-page-"));
  const remove = (): void => rmSync(outDir, { recursive: true, force: true });
  try {
    const root = import.meta.dirname;
    const options = { root, configFile: false, logLevel: "warn" } as const;
    await build({ ...options, build: { outDir, emptyOutDir: true, target: "es2023" } });
    const proxy = {
      "/state": {
        target: service,
        changeOrigin: true,
        rewrite: (path: string) => path.slice("/state".length),
      },
    };
    const server = await preview({
      ...options,
      build: { outDir },
      preview: { host: "127.0.0.1", port, proxy },
    });
    const [url] = server.resolvedUrls?.local ?? [];
    if (url === undefined) throw new Error("The page is served nowhere.");
    return {
      url,
      async close() {
        await server.close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

if (import.meta.main) {
  await withServer(process.argv[2], async (service) => {
    const page = await servePage(service, 7411);
    console.log(`The cart is at ${page.url}`);
    console.log(`Run \`npm run sample -- ${service}\` and see the page change. Ctrl-C ends it.`);
    await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
    await page.close();
  });
}
