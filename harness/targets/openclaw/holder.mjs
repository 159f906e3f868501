// Holds a session lock with the real program's own module. Commands on stdin, one JSON answer per line on stdout:
//   acquire <timeoutMs>  -> {"held": true} or {"error": "..."}
//   release              -> {"released": true}
// Arguments: the package's dist folder, the session file.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [dist, sessionFile] = process.argv.slice(2);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function find() {
  // The bundler renames exports; the module still says which name its own function went out under.
  for (const name of readdirSync(dist).filter((n) => /^session-write-lock-.*\.m?js$/.test(n))) {
    const text = readFileSync(join(dist, name), "utf8");
    const exported = /export \{[^}]*\bacquireSessionWriteLock(?: as (\w+))?[^}]*\}/.exec(text);
    if (exported && /function acquireSessionWriteLock\b/.test(text)) {
      return (await import(pathToFileURL(join(dist, name)).href))[exported[1] ?? "acquireSessionWriteLock"];
    }
  }
  return undefined;
}

const acquire = await find();
if (!acquire) {
  say({ error: "this version has no session write lock" });
  process.exit(2);
}
say({ ready: true, pid: process.pid });
let held;
for await (const line of createInterface({ input: process.stdin })) {
  const [command, argument] = line.trim().split(" ");
  try {
    if (command === "acquire") {
      held = await acquire({ sessionFile, timeoutMs: Number(argument) });
      say({ held: true });
    } else if (command === "release") {
      await held.release();
      held = undefined;
      say({ released: true });
    }
  } catch (error) {
    say({ error: String(error) });
  }
}
