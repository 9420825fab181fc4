/** A Redis Cluster of a test's own, three primaries with a replica each, to lose a primary and see another take over. */
import { freePort } from "./free-port.ts";
import { KillableRedis } from "./killable-redis.ts";
import { sleep } from "./network.ts";

const PRIMARIES = 3;
const SLOTS = 16_384;
/** After so long without a word a node counts as gone. */
const NODE_TIMEOUT_MS = 1_000;

/** Six servers on loopback. */
export class KillableCluster {
  readonly #nodes: readonly KillableRedis[];
  #prefixes = 0;

  private constructor(nodes: readonly KillableRedis[]) {
    this.#nodes = nodes;
  }

  /** Makes a cluster and waits until it serves all slots and each primary has its replica. */
  static async start(): Promise<KillableCluster> {
    const nodes = await Promise.all(Array.from({ length: 2 * PRIMARIES }, startNode));
    const cluster = new KillableCluster(nodes);
    try {
      await cluster.#form();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** The URL of a store that nothing has used before; its options are added to the query. */
  fresh(options = ""): string {
    this.#prefixes += 1;
    const hosts = this.#nodes.map(({ port }) => `127.0.0.1:${port}`).join(",");
    return `redis+cluster://${hosts}/?prefix=p${this.#prefixes}:${options}`;
  }

  /** Whether a store has a key somewhere. */
  async isBegun(url: string): Promise<boolean> {
    return (await Promise.all(this.#nodes.map((node) => node.isBegun(url)))).includes(true);
  }

  /** Bytes that the logs of the primaries have grown to. */
  async logBytes(): Promise<number> {
    const primaries = await this.#primaries();
    const bytes = await Promise.all(primaries.map((node) => node.logBytes()));
    return bytes.reduce((sum, each) => sum + each, 0);
  }

  /** Ends a primary by kill -9 and waits until its replica has taken over; then starts it again, as a replica. */
  async failOver(which: number, downMs = 0): Promise<void> {
    const primaries = await this.#primaries();
    const victim = primaries[which % primaries.length] as KillableRedis;
    await victim.kill();
    const others = this.#nodes.filter((node) => node !== victim);
    await until("a replica takes over", async () => {
      const states = await Promise.all(others.map((node) => this.#serves(node)));
      const roles = await Promise.all(others.map(isPrimary));
      return states.every((serves) => serves) && roles.filter((primary) => primary).length === PRIMARIES;
    });
    await sleep(downMs);
    await victim.restart();
    await this.#whole();
  }

  /** Ends all and removes their files. */
  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop()));
  }

  async #form(): Promise<void> {
    const [first, ...others] = this.#nodes as [KillableRedis, ...KillableRedis[]];
    for (let i = 0; i < PRIMARIES; i++) {
      const from = Math.ceil((i * SLOTS) / PRIMARIES);
      const to = Math.ceil(((i + 1) * SLOTS) / PRIMARIES) - 1;
      await this.#nodes[i]?.command("CLUSTER", "ADDSLOTSRANGE", String(from), String(to));
      // So that no two claim the same epoch and have to settle it first.
      await this.#nodes[i]?.command("CLUSTER", "SET-CONFIG-EPOCH", String(i + 1));
    }
    for (const { port, busPort } of others) {
      await first.command("CLUSTER", "MEET", "127.0.0.1", String(port), String(busPort));
    }
    await until("all nodes know each other", async () => {
      const known = await Promise.all(this.#nodes.map((node) => node.command("CLUSTER", "NODES")));
      return known.every((text) => String(text).trim().split("\n").length === this.#nodes.length);
    });
    for (let i = 0; i < PRIMARIES; i++) {
      const id = String(await this.#nodes[i]?.command("CLUSTER", "MYID"));
      await this.#nodes[PRIMARIES + i]?.command("CLUSTER", "REPLICATE", id);
    }
    await this.#whole();
  }

  /** Waits until every node serves and every replica follows its primary. */
  async #whole(): Promise<void> {
    await until("the cluster is whole", async () => {
      const good = await Promise.all(
        this.#nodes.map(async (node) => {
          if (!(await this.#serves(node))) return false;
          const info = String(await node.command("INFO", "replication"));
          return /^role:master/m.test(info)
            ? /^connected_slaves:[1-9]/m.test(info) && /state=online/.test(info)
            : /^master_link_status:up/m.test(info);
        }),
      );
      return good.every((each) => each);
    });
  }

  async #serves(node: KillableRedis): Promise<boolean> {
    return /cluster_state:ok/.test(String(await node.command("CLUSTER", "INFO")));
  }

  async #primaries(): Promise<KillableRedis[]> {
    const roles = await Promise.all(this.#nodes.map(isPrimary));
    return this.#nodes.filter((_, i) => roles[i]);
  }
}

async function startNode(): Promise<KillableRedis> {
  const busPort = await freePort();
  return KillableRedis.start({
    busPort,
    settings: [
      ...["--cluster-enabled", "yes", "--cluster-port", String(busPort)],
      ...["--cluster-node-timeout", String(NODE_TIMEOUT_MS), "--cluster-config-file", "nodes.conf"],
      // Replicas begin at once, without waiting for more of them.
      ...["--repl-diskless-sync-delay", "0"],
    ],
  });
}

async function isPrimary(node: KillableRedis): Promise<boolean> {
  return /^role:master/m.test(String(await node.command("INFO", "replication")));
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`It took more than 20 s until ${what}.`);
    await sleep(20);
  }
}
