/** deploy/: done as it says, as far as that goes without a container engine or a cluster. */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { settingsOf } from "../src/cli/config.ts";
import { freePort } from "./support/free-port.ts";
import { ROOT } from "./support/markdown.ts";
import { ended, start } from "./support/run-node.ts";
import { selfSigned } from "./support/self-signed.ts";

const folder = mkdtempSync(join(tmpdir(), "workflow-state-deploy-"));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the Dockerfile", () => {
  const stages = stagesOf(readFileSync(join(ROOT, "deploy/Dockerfile"), "utf8"));
  const image = stages.at(-1) as Stage;

  beforeAll(() => {
    for (const [index, stage] of stages.entries()) build(stage, index);
  }, 300_000);

  test("makes what serves by its command, and is healthy by its own word", async () => {
    const port = await freePort();
    const [command = "", ...args] = JSON.parse(image.last("CMD")) as string[];
    const env = {
      ...Object.fromEntries(
        image
          .last("ENV")
          .split(" ")
          .map((pair) => pair.split("=") as [string, string]),
      ),
      WORKFLOW_STATE_INSECURE_NO_AUTH: "1",
      WORKFLOW_STATE_STORE: `sqlite:${join(rootOf(image), "data/state.db")}`,
      WORKFLOW_STATE_LISTEN: `0.0.0.0:${port}`,
    };
    const child = start(process.execPath, [join(rootOf(image), command), ...args], env);
    const end = ended(child);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    const probe = JSON.parse(image.last("HEALTHCHECK").replace(/^.*?CMD /, "")) as string[];
    expect(probe[0]).toBe("/nodejs/bin/node");
    const url = ["--url", `http://127.0.0.1:${port}`];
    const checked = await ended(
      start(process.execPath, [join(rootOf(image), probe[1] ?? ""), ...probe.slice(2), ...url]),
    );
    expect(checked).toMatchObject({ status: 0, stdout: "ready\n" });
    child.kill("SIGTERM");
    expect(await end).toMatchObject({ status: 0, stdout: `listening on http://0.0.0.0:${port}\n` });
  });

  test("refuses to listen without authentication", async () => {
    const [command = "", ...args] = JSON.parse(image.last("CMD")) as string[];
    const env = { WORKFLOW_STATE_LISTEN: "0.0.0.0:0" };
    const { status, stderr } = await ended(
      start(process.execPath, [join(rootOf(image), command), ...args], env),
    );
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining("won't listen on 0.0.0.0"),
    });
  });

  test("holds what runs and nothing else, not as root", () => {
    expect(image.base).toMatch(/^gcr\.io\/distroless\/.*:nonroot$/);
    expect(Number(image.last("USER").split(":")[0])).toBeGreaterThan(0);
    const packages = globSync("node_modules/{*,@*/*}/package.json", { cwd: join(rootOf(image), "app") });
    const names = packages.map((path) => dirname(path).replace(/^node_modules./, ""));
    expect(names).toContain("@connectrpc/connect-node");
    expect(names).not.toContain("vitest");
    expect(
      names.filter((name) => /^node-(?:bin|linux|darwin|win)|workflow-state-runtime/.test(name)),
    ).toEqual([]);
    expect(
      globSync("**/*.ts", { cwd: join(rootOf(image), "app/dist") }).filter((path) => !/\.d\.ts$/.test(path)),
    ).toEqual([]);
  });

  /** One FROM, and what follows it. */
  interface Stage {
    readonly base: string;
    readonly name: string;
    readonly steps: readonly { readonly instruction: string; readonly rest: string }[];
    /** The last instruction of a kind. */
    last(instruction: string): string;
  }

  function stagesOf(text: string): Stage[] {
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const steps = lines.map((line) => {
      const [, instruction = "", rest = ""] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
      return { instruction, rest };
    });
    const starts = steps.flatMap(({ instruction }, index) => (instruction === "FROM" ? [index] : []));
    return starts.map((from, index) => {
      const own = steps.slice(from + 1, starts[index + 1]);
      const [base = "", , name = ""] = (steps[from]?.rest ?? "").split(" ");
      return {
        base,
        name,
        steps: own,
        last: (wanted) => own.findLast(({ instruction }) => instruction === wanted)?.rest ?? "",
      };
    });
  }

  function rootOf({ name }: Stage): string {
    return join(folder, name === "" ? "image" : name);
  }

  /** Does a stage's steps in a folder of its own, which stands for its root. */
  function build(stage: Stage, index: number): void {
    const root = rootOf(stage);
    let cwd = root;
    for (const { instruction, rest } of stage.steps) {
      if (instruction === "WORKDIR") {
        cwd = join(root, rest);
        mkdirSync(cwd, { recursive: true });
      } else if (instruction === "COPY") {
        copy(stages.slice(0, index), rest, (path) =>
          path.startsWith("/") ? join(root, path) : join(cwd, path),
        );
      } else if (instruction === "RUN") {
        const { status, stderr } = spawnSync("sh", ["-c", rest], { cwd, encoding: "utf8" });
        expect({ run: rest, status, stderr }).toMatchObject({ status: 0 });
      }
    }
  }

  function copy(earlier: readonly Stage[], rest: string, target: (path: string) => string): void {
    const words = rest.split(" ");
    const from = words.find((word) => word.startsWith("--from="))?.slice("--from=".length);
    const paths = words.filter((word) => !word.startsWith("--"));
    const to = paths.pop() ?? "";
    const stage = earlier.find(({ name }) => name === from);
    expect(stage === undefined, rest).toBe(from === undefined);
    for (const path of paths) {
      if (stage === undefined) expect(isSent(path), `${path} is kept out by the .dockerignore`).toBe(true);
      const source = join(stage === undefined ? ROOT : rootOf(stage), path);
      const into = /\/$/.test(to) || to === "." ? join(target(to), basename(path)) : target(to);
      cpSync(source, into, { recursive: true, verbatimSymlinks: true });
    }
  }

  /** Whether a path of the checkout reaches the engine. */
  function isSent(path: string): boolean {
    const lines = readFileSync(join(ROOT, "deploy/Dockerfile.dockerignore"), "utf8").split("\n");
    return lines.includes("*") && lines.some((line) => line === `!${path}`);
  }
});

describe("the systemd unit", () => {
  const unit = "deploy/workflow-state.service";
  const hasSystemd = spawnSync("systemd-analyze", ["--version"]).status === 0;

  test.runIf(hasSystemd)("is one that systemd takes, with little that it may do", () => {
    const verified = spawnSync("systemd-analyze", ["verify", unit], { cwd: ROOT, encoding: "utf8" });
    expect(verified).toMatchObject({ status: 0, stderr: "" });
    const rated = spawnSync("systemd-analyze", ["security", "--offline=true", "--threshold=20", unit], {
      cwd: ROOT,
      encoding: "utf8",
    });
    expect(rated.status, rated.stdout).toBe(0);
  });

  test("waits longer for its end than the service takes", () => {
    const text = readFileSync(join(ROOT, unit), "utf8");
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(text)?.[1])).toBeGreaterThan(10);
  });
});

describe("the Kubernetes manifests", () => {
  const at = (file: string): string => join(ROOT, "deploy/kubernetes", file);
  const read = (file: string): string => readFileSync(at(file), "utf8");
  const kustomization = parse(read("kustomization.yaml")) as {
    resources: string[];
    labels: { pairs: Record<string, string>; includeSelectors?: boolean }[];
    configMapGenerator: { name: string; files: string[] }[];
  };
  const { template } = (parse(read("deployment.yaml")) as Deployment).spec;
  const [container] = template.spec.containers;
  const labels = kustomization.labels.find(({ includeSelectors }) => includeSelectors)?.pairs ?? {};

  test("are all named, and there", () => {
    const files = globSync("*.yaml", { cwd: at(".") }).filter(
      (file) => !/^(?:kustomization|secrets\.example)\.yaml$/.test(file),
    );
    expect(kustomization.resources.toSorted()).toEqual(files.sort());
  });

  test("have a config file that the service takes", () => {
    const { key, cert } = selfSigned();
    const [tlsKey, tlsCert] = [join(folder, "tls.key"), join(folder, "tls.crt")];
    writeFileSync(tlsKey, key);
    writeFileSync(tlsCert, cert);
    const settings = settingsOf({ config: at("config.json"), tlsKey, tlsCert });
    const ports = Object.fromEntries(container.ports.map(({ name, containerPort }) => [name, containerPort]));
    expect(settings.listen).toEqual({ host: "0.0.0.0", port: ports["grpc"] });
    const { sleep } = container.lifecycle.preStop;
    expect(template.spec.terminationGracePeriodSeconds * 1000).toBeGreaterThan(
      sleep.seconds * 1000 + settings.drainTimeoutMs,
    );
    const { tls } = parse(read("config.json")) as { tls?: unknown };
    expect(tls).toBeUndefined();
  });

  test("refer to each other by names that there are", () => {
    const secrets = parseAllDocuments(read("secrets.example.yaml")).map(
      (document) => document.toJS() as { metadata: { name: string }; stringData: Record<string, string> },
    );
    const keys = new Map(secrets.map(({ metadata, stringData }) => [metadata.name, Object.keys(stringData)]));
    for (const { valueFrom } of container.env) {
      expect(keys.get(valueFrom.secretKeyRef.name)).toContain(valueFrom.secretKeyRef.key);
    }
    const volumes = template.spec.volumes.map(({ name }) => name);
    expect(container.volumeMounts.map(({ name }) => name).sort()).toEqual(volumes.sort());
    const mounts = Object.fromEntries(container.volumeMounts.map(({ name, mountPath }) => [name, mountPath]));
    const config = parse(read("config.json")) as { tlsKey: string; tlsCert: string };
    expect(
      keys
        .get("workflow-state-tls")
        ?.map((file) => `${mounts["tls"]}/${file}`)
        .sort(),
    ).toEqual([config.tlsCert, config.tlsKey].sort());
    expect(container.args).toContain(`${mounts["config"]}/config.json`);
    expect(kustomization.configMapGenerator[0]).toEqual({ name: "workflow-state", files: ["config.json"] });
    for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
      expect(probe.httpGet).toMatchObject({
        port: "grpc",
        scheme: "HTTPS",
        path: expect.stringMatching(/^\/(?:healthz|readyz)$/),
      });
    }
  });

  test("keep a pod for callers while nodes are emptied: the budget is of the pods that the deployment makes", () => {
    const { selector } = (parse(read("disruption-budget.yaml")) as Budget).spec;
    expect(selector?.matchLabels).toEqual(labels);
    expect(Object.keys(labels)).not.toEqual([]);
  });

  test("let the pod do nothing that it need not", () => {
    expect(template.spec.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65532 });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    expect(template.spec.automountServiceAccountToken).toBe(false);
  });

  const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;
  test.runIf(hasKubectl)("are put together by kubectl", () => {
    const { status, stdout, stderr } = spawnSync("kubectl", ["kustomize", at(".")], { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const made = parseAllDocuments(stdout).map((document) => document.toJS() as { kind: string });
    const budget = made.find(({ kind }) => kind === "PodDisruptionBudget") as unknown as Budget;
    const { spec } = made.find(({ kind }) => kind === "Deployment") as unknown as Deployment;
    expect(spec.template.metadata.labels).toMatchObject(budget.spec.selector.matchLabels);
    expect(made.map(({ kind }) => kind).sort()).toEqual([
      ...["ConfigMap", "Deployment", "Namespace", "NetworkPolicy"],
      ...["PodDisruptionBudget", "Service", "ServiceAccount"],
    ]);
  });

  test("are there for every file that a page names", () => {
    for (const [, path = ""] of readFileSync(join(ROOT, "deploy/README.md"), "utf8").matchAll(
      /\]\((?!https?:)([^)#]+)/g,
    )) {
      expect(existsSync(join(ROOT, "deploy", path)), path).toBe(true);
    }
  });
});

/** What the tests read of the deployment. */
interface Deployment {
  readonly spec: {
    readonly template: {
      /** There once kustomize has put all together. */
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: {
        readonly containers: readonly [
          {
            readonly args: readonly string[];
            readonly env: readonly {
              readonly valueFrom: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
            }[];
            readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
            readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
            readonly startupProbe: Probe;
            readonly livenessProbe: Probe;
            readonly readinessProbe: Probe;
            readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
            readonly securityContext: unknown;
          },
        ];
        readonly volumes: readonly { readonly name: string }[];
        readonly securityContext: unknown;
        readonly automountServiceAccountToken: boolean;
        readonly terminationGracePeriodSeconds: number;
      };
    };
  };
}

/** What the tests read of the disruption budget. */
interface Budget {
  readonly spec: { readonly selector: { readonly matchLabels: Readonly<Record<string, string>> } };
}

interface Probe {
  readonly httpGet: unknown;
}
