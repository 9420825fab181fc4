/** The program `workflow-state`; `bin/workflow-state.js` starts it. */
import { main } from "./cli/program.ts";

process.exitCode = await main(process.argv.slice(2));
