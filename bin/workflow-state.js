#!/usr/bin/env node
// Old syntax on purpose: a Node.js too old for the rest must still be able to read this file.
var major = Number(process.versions.node.split(".")[0]);
// A checkout runs its source, built or not; the package has none.
var source = new URL("../src/cli.ts", import.meta.url);

if (major < 24) {
  console.error("workflow-state needs Node.js 24 or newer; this is " + process.versions.node + ".");
  process.exitCode = 1;
} else {
  import("node:fs")
    .then(function (fs) {
      return import(fs.existsSync(source) ? source.href : "../dist/src/cli.js");
    })
    .catch(function (error) {
      console.error(error);
      process.exitCode = 1;
    });
}
