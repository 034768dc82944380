/** The house rules that a machine can check: layering, purity, doors, file sizes, clean text. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";

/** Lowest first. A module imports only from itself and from what stands before it. */
const LAYERS: readonly (readonly string[])[] = [
  ["std"],
  ["ip"],
  ["log", "metrics"],
  ["selector"],
  ["resource"],
  ["model"],
  ["policy"],
  ["bgp"],
  ["calc"],
  ["datastore"],
  ["ipam"],
  ["sync"],
  ["netlink"],
  ["dataplane"],
  ["felix", "ctl", "confd", "lab", "node"],
];
const PURE = new Set(["std", "ip", "selector", "resource", "model", "policy", "bgp", "calc"]);
/** The composition modules may use each other's doors. */
const COMPOSITION = new Set(["felix", "ctl", "confd", "lab", "node"]);
const NODE_GLOBALS =
  /\b(?:process|Buffer|setTimeout|setInterval|setImmediate|performance)\s*[.(]|\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(/;

const layerOf = new Map(
  LAYERS.flatMap((names, depth) => names.map((name) => [name, depth] as const)),
);
const files = globSync("{src,test,bench,scripts}/**/*.ts").filter(
  (file) => !file.endsWith("_pb.ts"),
);
const sources = files.filter((file) => file.startsWith("src/"));

function moduleOf(file: string): string {
  return file.split("/")[1] ?? "";
}

function importsOf(text: string): { specifier: string; typeOnly: boolean }[] {
  const found: { specifier: string; typeOnly: boolean }[] = [];
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(type\s)?[^;"']*?from\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)|(?:^|\n)\s*import\s*["']([^"']+)["']/g;
  for (const match of text.matchAll(pattern)) {
    found.push({
      specifier: match[2] ?? match[3] ?? match[4] ?? "",
      typeOnly: match[1] !== undefined,
    });
  }
  return found;
}

test("no import points up the list of modules", () => {
  const faults: string[] = [];
  for (const file of sources) {
    const from = moduleOf(file);
    const depth = layerOf.get(from);
    if (depth === undefined) continue; // src/main.ts
    for (const { specifier, typeOnly } of importsOf(readFileSync(file, "utf8"))) {
      if (!specifier.startsWith("#") || typeOnly) continue;
      const target = specifier.slice(1);
      const targetDepth = layerOf.get(target);
      if (targetDepth === undefined) faults.push(`${file}: unknown door ${specifier}`);
      else if (
        target !== from &&
        targetDepth >= depth &&
        !(COMPOSITION.has(from) && COMPOSITION.has(target))
      )
        faults.push(`${file}: ${from} imports ${specifier}`);
    }
  }
  assert.deepEqual(faults, []);
});

test("modules meet only at their doors", () => {
  const faults: string[] = [];
  for (const file of sources) {
    for (const { specifier } of importsOf(readFileSync(file, "utf8"))) {
      if (!specifier.startsWith(".")) continue;
      const target = new URL(specifier, `file:///${file}`).pathname.slice(1);
      if (layerOf.has(moduleOf(file)) && moduleOf(target) !== moduleOf(file))
        faults.push(`${file}: ${specifier}`);
    }
  }
  assert.deepEqual(faults, []);
});

test("the pure modules know no Node API, clock or randomness", () => {
  const faults: string[] = [];
  for (const file of sources.filter((name) => PURE.has(moduleOf(name)))) {
    const text = readFileSync(file, "utf8");
    for (const { specifier } of importsOf(text)) {
      if (specifier.startsWith("node:")) faults.push(`${file}: imports ${specifier}`);
    }
    const code = text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, "");
    const hit = NODE_GLOBALS.exec(code);
    if (hit !== null) faults.push(`${file}: uses ${hit[0]}`);
  }
  assert.deepEqual(faults, []);
});

test("every module has a door that lists its names one by one", () => {
  for (const name of layerOf.keys()) {
    const door = readFileSync(`src/${name}/mod.ts`, "utf8");
    assert.match(door, /export/, `src/${name}/mod.ts exports nothing`);
    assert.doesNotMatch(door, /export\s*\*/, `src/${name}/mod.ts has export *`);
  }
});

test("no file is over 800 lines", () => {
  const long = files.filter((file) => readFileSync(file, "utf8").split("\n").length > 800);
  assert.deepEqual(long, []);
});

test("each third-party package has one importing module and a line in DEPENDENCIES.md", () => {
  const users = new Map<string, Set<string>>();
  for (const file of sources) {
    for (const { specifier } of importsOf(readFileSync(file, "utf8"))) {
      if (/^(?:[.#]|node:)/.test(specifier)) continue;
      const parts = specifier.split("/");
      const name = specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? "");
      const set = users.get(name) ?? new Set<string>();
      set.add(moduleOf(file));
      users.set(name, set);
    }
  }
  const declared = JSON.parse(readFileSync("package.json", "utf8")) as Record<
    string,
    Record<string, string>
  >;
  const documented = readFileSync("DEPENDENCIES.md", "utf8");
  for (const name of Object.keys({ ...declared["dependencies"], ...declared["devDependencies"] })) {
    assert.ok(documented.includes(`\`${name}\``), `DEPENDENCIES.md does not mention ${name}`);
  }
  /** commander draws the command line of each composition module; the YAML library parses at several edges. */
  const several = new Set(["commander", "yaml"]);
  const shared = [...users].filter(([name, modules]) => modules.size > 1 && !several.has(name));
  assert.deepEqual(
    shared.map(([name, modules]) => `${name}: ${[...modules].toSorted().join(" ")}`),
    [],
  );
});

test("versions are pinned exactly and the lockfile names no registry", () => {
  const declared = JSON.parse(readFileSync("package.json", "utf8")) as Record<
    string,
    Record<string, string>
  >;
  for (const [name, version] of Object.entries({
    ...declared["dependencies"],
    ...declared["devDependencies"],
  })) {
    assert.match(version, /^\d+\.\d+\.\d+(?:-[\w.]+)?$/, `${name} is not pinned: ${version}`);
  }
  assert.doesNotMatch(readFileSync("package-lock.json", "utf8"), /"resolved"/);
});
