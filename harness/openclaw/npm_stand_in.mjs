// Stands in for npm where there is no network: links the packages that were installed beforehand, and makes an empty
// shell of each other one that is asked for. Asked for: the packages on the command line, and those of package.json in
// the current folder. A shell has the name and a version that the range accepts; who loads it gets an error.
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const store = join(root, "node_modules");

function split(spec) {
  const at = spec.indexOf("@", 1);
  return at < 0 ? [spec, "*"] : [spec.slice(0, at), spec.slice(at + 1)];
}

function packagesOf(folder) {
  return readdirSync(folder).flatMap((name) =>
    name.startsWith("@") ? readdirSync(join(folder, name)).map((inner) => `${name}/${inner}`) : [name]);
}

function shell(name, range) {
  const version = /\d+\.\d+\.\d+[-\w.+]*/.exec(range)?.[0] ?? "0.0.0";
  const folder = join("node_modules", name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version, main: "index.js" }));
  writeFileSync(join(folder, "index.js"), `throw new Error("${name} was not installed: only its name stands here");\n`);
}

const asked = new Map(process.argv.slice(2).filter((part) => !part.startsWith("-") && part !== "install").map(split));
if (existsSync("package.json")) {
  const manifest = JSON.parse(readFileSync("package.json", "utf8"));
  for (const [name, range] of Object.entries(manifest.dependencies ?? {})) asked.set(name, range);
}
const kept = existsSync("node_modules") ? packagesOf("node_modules") : [];
const known = new Set(packagesOf(store).filter((name) => !name.startsWith(".")));
for (const name of known) {
  const link = join("node_modules", name);
  mkdirSync(dirname(link), { recursive: true });
  if (!kept.includes(name)) symlinkSync(join(store, name), link);
}
// What is in the store only because another package needs it may have another version than the one asked for.
const wanted = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).dependencies;
const shells = [...asked].filter(([name]) => !(name in wanted));
for (const [name, range] of shells) {
  rmSync(join("node_modules", name), { recursive: true, force: true });
  shell(name, range);
}
if (shells.length > 0) appendFileSync(join(root, "shells.txt"), shells.map(([name]) => `${name}\n`).join(""));
