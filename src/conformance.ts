/**
 * The conformance suite: what every store must do, as data for any test runner.
 *
 * @example
 * for (const { name, run } of conformanceCases) test(name, () => run(harness));
 */
import { batchCases } from "./conformance/cases-batch.ts";
import { callCases } from "./conformance/cases-calls.ts";
import { commitCases } from "./conformance/cases-commits.ts";
import { concurrencyCases } from "./conformance/cases-concurrency.ts";
import { expiryCases } from "./conformance/cases-expiry.ts";
import { fieldCases } from "./conformance/cases-fields.ts";
import { forkCases } from "./conformance/cases-fork.ts";
import { historyCases } from "./conformance/cases-history.ts";
import { limitCases } from "./conformance/cases-limits.ts";
import { metadataCases } from "./conformance/cases-metadata.ts";
import { replayCases } from "./conformance/cases-replay.ts";
import { sessionCases } from "./conformance/cases-sessions.ts";
import { sessionListCases } from "./conformance/cases-sessions-list.ts";
import { stateCases } from "./conformance/cases-state.ts";
import { updateCases } from "./conformance/cases-update.ts";
import { valueCases } from "./conformance/cases-values.ts";
import { watchCases } from "./conformance/cases-watch.ts";
import type { ConformanceCase } from "./conformance/harness.ts";

export {
  type ConformanceCase,
  type ConformanceClock,
  ConformanceFailure,
  type ConformanceHarness,
} from "./conformance/harness.ts";

/** Every case; their names are unique. */
export const conformanceCases: readonly ConformanceCase[] = [
  ...sessionCases,
  ...stateCases,
  ...fieldCases,
  ...commitCases,
  ...metadataCases,
  ...updateCases,
  ...replayCases,
  ...historyCases,
  ...forkCases,
  ...watchCases,
  ...sessionListCases,
  ...expiryCases,
  ...batchCases,
  ...valueCases,
  ...limitCases,
  ...concurrencyCases,
  ...callCases,
];
