/** Servers that all test files share, started when the first one asks (see global-setup.ts). */
import { inject } from "vitest";

/** What is known of a server that runs; `undefined`: it can't run here. */
export async function service(name: string): Promise<unknown> {
  const response = await fetch(`${inject("services")}/${name}`);
  if (!response.ok) throw new Error(`${name}: ${await response.text()}`);
  return (await response.json()) ?? undefined;
}
