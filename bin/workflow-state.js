#!/usr/bin/env node
// Old syntax on purpose: a Node.js too old for the rest must still be able to read this file.
var major = Number(process.versions.node.split(".")[0]);
if (major < 24) {
  console.error("workflow-state needs Node.js 24 or newer; this is " + process.versions.node + ".");
  process.exitCode = 1;
} else {
  import("../dist/src/cli.js").catch(function (error) {
    console.error(error);
    process.exitCode = 1;
  });
}
