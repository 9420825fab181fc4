import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Starts nothing by itself: servers that test files share run when the first one asks for them.
    globalSetup: ["test/support/global-setup.ts"],
    // Real servers and property tests: generous for a slow machine, short enough to catch a hang.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    expect: { poll: { timeout: 20_000 } },
    pool: "forks",
    maxWorkers: 2,
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "html", "json-summary"],
      thresholds: { lines: 95, branches: 95 },
    },
  },
});

export default config;
