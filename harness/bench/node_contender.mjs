// One contender under Node, for `lockjaw bench locks`. Orders come as arguments, what it measured goes out as one JSON line.
//
//   node node_contender.mjs LIBRARY MODULE FILE WHAT NUMBER LIMIT
//
// LIBRARY: proper-lockfile or openclaw ...; MODULE: the file to import it from; FILE: the session.
// WHAT: uncontended (LIMIT: how often) or contend, handoff, hold, once (LIMIT: until when, nanoseconds of CLOCK_MONOTONIC).

import fs from "node:fs";
import { pathToFileURL } from "node:url";

const [library, module, file, what, number, limit, hold] = process.argv.slice(2);
const now = () => process.hrtime.bigint();
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function opened() {
  const loaded = await import(pathToFileURL(module).href);
  if (library === "proper-lockfile") {
    const lock = (loaded.default ?? loaded).lock;
    // It only locks files that exist, and gives up after its retries: nobody here shall time out.
    const options = { retries: { retries: 100000, minTimeout: 50, maxTimeout: 1000, factor: 1.5 } };
    return async () => lock(file, options);
  }
  // A bundled program: its functions are exported under names of the bundler's choice.
  const name = /acquireSessionWriteLock as (\w+)/.exec(fs.readFileSync(module, "utf8"));
  const acquire = loaded[name ? name[1] : "acquireSessionWriteLock"];
  return async () => {
    const held = await acquire({ sessionFile: file, timeoutMs: 600000, staleMs: 1800000, maxHoldMs: 600000 });
    return () => held.release();
  };
}

const acquire = await opened();
const told = { waits: [], spans: [] };
const say = () => fs.writeSync(1, JSON.stringify(told, (_, v) => (typeof v === "bigint" ? Number(v) : v)) + "\n");
const ready = () => fs.writeSync(1, "ready\n");
const taken = `${file}.taken`;

if (what !== "once") await (await acquire())(); // once before the start: files are open, code is loaded
if (what === "uncontended") {
  for (let i = 0; i < Number(limit); i++) {
    const start = now();
    await (await acquire())();
    told.waits.push(now() - start);
  }
  say();
  process.exit(0);
}
if (what === "hold") {
  await acquire();
  ready();
  await pause(3600000);
}
if (what === "once") {
  ready();
  await acquire();
  told.waits.push(now());
  say();
  await pause(3600000);
}
ready();
let told_start = "";
for await (const piece of process.stdin) told_start += piece; // the bundle may have made it non-blocking
const start = BigInt(told_start.trim());
const end = BigInt(limit) + start;
while (now() < start) await pause(1);
let begun = 0n;
process.on("SIGTERM", () => {
  told.unfinished = begun;
  say();
  process.exit(0);
});
while ((begun = now()) < end) {
  const release = await acquire();
  const got = now();
  if (what === "handoff") fs.writeFileSync(taken, number);
  await pause(Number(hold));
  const leaving = now();
  await release();
  told.spans.push([begun, got, leaving]);
  while (what === "handoff" && now() < end && fs.readFileSync(taken, "utf8") === number) await pause(1);
}
begun = 0n;
say();
