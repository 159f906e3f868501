// Stands in for npm where there is no network: links the packages that are asked for, from those that were installed
// beforehand or from the program's own, and makes an empty shell of what is in neither. Asked for: the packages on the
// command line, and those of package.json in the current folder. A shell has the name and a version that the range
// accepts; who loads it gets an error.
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const stores = [join(root, "node_modules"), resolve(root, "..", "node_modules")];

function split(spec) {
  const at = spec.indexOf("@", 1);
  return at < 0 ? [spec, "*"] : [spec.slice(0, at), spec.slice(at + 1)];
}

function versionIn(folder) {
  const path = join(folder, "package.json");
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).version : undefined;
}

// The program judges with semver whether it got what it asked for, so semver is among its packages.
const semver = stores.map((store) => join(store, "semver")).find((folder) => existsSync(folder));
const satisfies = semver
  ? createRequire(import.meta.url)(semver).satisfies
  : (version, range) => version === range;

function shell(folder, name, range) {
  const version = /\d+\.\d+\.\d+[-\w.+]*/.exec(range)?.[0] ?? "0.0.0";
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version, main: "index.js" }));
  writeFileSync(join(folder, "index.js"), `throw new Error("${name} was not installed: only its name stands here");\n`);
}

const asked = new Map(process.argv.slice(2).filter((part) => !part.startsWith("-") && part !== "install").map(split));
if (existsSync("package.json")) {
  const manifest = JSON.parse(readFileSync("package.json", "utf8"));
  for (const [name, range] of Object.entries(manifest.dependencies ?? {})) asked.set(name, range);
}
const shells = [];
mkdirSync("node_modules", { recursive: true });
for (const [name, range] of asked) {
  const place = join("node_modules", name);
  const found = stores.map((store) => join(store, name)).find((folder) => {
    const version = versionIn(folder);
    return version !== undefined && satisfies(version, range);
  });
  rmSync(place, { recursive: true, force: true });
  mkdirSync(dirname(place), { recursive: true });
  if (found) symlinkSync(found, place);
  else {
    shell(place, name, range);
    shells.push(`${name}@${range}\n`);
  }
}
if (shells.length > 0) appendFileSync(join(root, "shells.txt"), shells.join(""));
