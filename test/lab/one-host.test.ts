/** The lab as its user meets it: the command line, a second terminal, an ordinary user, a crash. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Cell } from "../../src/lab/matrix.ts";
import { margay, processesOf, statusOf, until } from "../support/lab.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const MARGAY = join(ROOT, "bin/margay");
const EXAMPLE = join(ROOT, "examples/one-host.yaml");
const dir = mkdtempSync(join(tmpdir(), "margay-lab-test-"));
const started: ChildProcess[] = [];

after(() => {
  for (const child of started) if (child.exitCode === null) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** The example under a name of this test's own, so that a lab of the user's is not in the way. */
function example(name: string, change: (text: string) => string = (text) => text): string {
  const file = join(dir, `${name}.yaml`);
  writeFileSync(
    file,
    change(readFileSync(EXAMPLE, "utf8")).replace("name: one-host", `name: ${name}`),
  );
  return file;
}

async function cells(name: string): Promise<readonly Cell[]> {
  return (await statusOf(name))?.cells ?? [];
}

async function reach(
  name: string,
  from: string,
  to: string,
  family: 4 | 6,
): Promise<boolean | undefined> {
  const found = (cell: Cell): boolean =>
    cell.from === from && cell.to === to && cell.family === family;
  return (await cells(name)).find(found)?.allowed;
}

test("up --once prints the matrix and agrees with the file", () => {
  const name = `mgyonce${process.pid}`;
  const ran = margay("lab", "up", example(name), "--once", "-o", "json");
  assert.equal(ran.status, 0, ran.stderr);
  const result = JSON.parse(ran.stdout) as { asExpected: boolean; cells: Cell[] };
  assert.equal(result.asExpected, true);
  assert.ok(result.cells.length > 20 && result.cells.every((cell) => cell.allowed));
  assert.deepEqual(processesOf(name), []);
});

test("up --once fails and says which connections the file did not expect", () => {
  const file = example(
    `mgywrong${process.pid}`,
    (text) => `${text}  deny: [client -> web tcp:80]\n`,
  );
  const ran = margay("lab", "up", file, "--once");
  assert.equal(ran.status, 1);
  assert.match(ran.stderr, /client -> web tcp:80 v4: reached it; the file expects deny/);
});

test("the walk-through does what the README says, from a second terminal", async () => {
  const name = `mgywalk${process.pid}`;
  const child = spawn(MARGAY, ["lab", "up", example(name)], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const step = (file: string): void => {
    const applied = margay(
      "lab",
      "ctl",
      "--lab",
      name,
      "apply",
      "-f",
      `examples/walkthrough/${file}`,
    );
    assert.equal(applied.status, 0, applied.stderr);
  };
  await until("the first matrix", async () => (await cells(name)).length > 0);
  assert.ok((await cells(name)).every((cell) => cell.allowed));
  const printed = margay("lab", "status", name, "-o", "json").stdout;
  assert.equal((JSON.parse(printed) as { readonly ready: boolean }).ready, true);

  step("1-deny-db.yaml");
  const says = async (expected: boolean, ...pairs: readonly [string, string, 4 | 6][]) => {
    const told = await Promise.all(
      pairs.map(([from, to, family]) => reach(name, from, to, family)),
    );
    return told.every((one) => one === expected);
  };
  await until("db is denied to all workloads", () =>
    says(false, ["web", "db", 4], ["web", "db", 6], ["api", "db", 4], ["api", "db", 6]),
  );
  assert.equal(await reach(name, "client", "web", 4), true);

  step("2-allow-by-label.yaml");
  await until("api reaches db", () => says(true, ["api", "db", 4], ["api", "db", 6]));
  assert.equal(await reach(name, "web", "db", 4), false);

  step("3-deny-cidr.yaml");
  await until("internet is closed", () =>
    says(
      false,
      ...["web", "api", "db"].flatMap((from): [string, string, 4 | 6][] => [
        [from, "internet", 4],
        [from, "internet", 6],
      ]),
    ),
  );
  assert.equal(await reach(name, "api", "db", 4), true);

  step("4-ipv6-only.yaml");
  await until("web is IPv6 only", async () => {
    return (await says(false, ["api", "web", 4])) && (await says(true, ["api", "web", 6]));
  });

  const ruleset = margay(
    "lab",
    "exec",
    "--lab",
    name,
    "host-a",
    "--",
    "nft",
    "list",
    "table",
    "inet",
    "margay",
  );
  assert.equal(ruleset.status, 0, ruleset.stderr);
  assert.match(ruleset.stdout, /web-ipv6/);
  const nobody = margay("lab", "exec", "--lab", name, "nobody", "--", "true");
  assert.notEqual(nobody.status, 0);
  assert.match(nobody.stderr, /has no nobody; there are: .*web/);
  assert.notEqual(
    margay("lab", "up", example(name)).status,
    0,
    "a second lab of the same name is refused",
  );

  assert.equal(margay("lab", "down", name).status, 0);
  await until("the command ends", () => child.exitCode !== null, 10_000);
  assert.equal(child.exitCode, 0);
  assert.match(output, /FROM \\ TO/);
  assert.deepEqual(processesOf(name), []);
});

test("SIGTERM ends the lab, and SIGKILL leaves nothing behind either", async () => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const name = `mgykill${process.pid}${signal.toLowerCase()}`;
    const child = spawn(
      process.execPath,
      [
        "--disable-warning=ExperimentalWarning",
        join(ROOT, "src/main.ts"),
        "lab",
        "up",
        example(name),
      ],
      {
        stdio: "ignore",
      },
    );
    started.push(child);
    await until("the lab runs", async () => (await cells(name)).length > 0);
    child.kill(signal);
    await until(`nothing is left after ${signal}`, () => processesOf(name).length === 0, 10_000);
    assert.ok(!existsSync("/run/netns/mgy-web"));
  }
});

const userNamespaces =
  spawnSync("setpriv", [
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "unshare",
    "-Urnmp",
    "--fork",
    "true",
  ]).status === 0;
const asOrdinaryUser = process.geteuid?.() === 0 && userNamespaces;

test(
  "an ordinary user runs the same lab",
  { skip: asOrdinaryUser ? false : "needs root (to become nobody) and user namespaces" },
  () => {
    const name = `mgyuser${process.pid}`;
    const home = mkdtempSync(join(tmpdir(), "margay-home-"));
    try {
      const file = example(name);
      for (const path of [dir, home]) spawnSync("chmod", ["-R", "a+rX", path]);
      const ran = spawnSync(
        "setpriv",
        ["--reuid=65534", "--regid=65534", "--clear-groups", MARGAY, "lab", "up", file, "--once"],
        {
          encoding: "utf8",
          cwd: "/",
          env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: home },
          timeout: 90_000,
        },
      );
      assert.equal(ran.status, 0, ran.stderr);
      assert.match(ran.stdout, /client/);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  },
);
