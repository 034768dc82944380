import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { logLevelOf } from "#log";

function tempDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "margay-log-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** Runs a snippet with the log module in a process of its own and returns what it wrote to stderr. */
function stderrOf(body: string): string {
  const code = `
    const { configureLogging, logger, flushLogs } = await import("#log");
    ${body}`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" })
    .stderr;
}

test("severities: screen and file each have their own, records are JSON", (t) => {
  const path = join(tempDir(t), "sub", "felix.log");
  const screen = stderrOf(`
    await configureLogging({ screen: "warn", file: { path: ${JSON.stringify(path)}, level: "debug" } });
    const log = logger("felix", { node: "a" });
    log.debug("one"); log.info("two"); log.warn("three", { n: 3, error: new Error("why") });
    process.exit(3);`);
  const lines = screen
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    lines.map(({ level, component, msg, n, node, error }) => ({
      level,
      component,
      msg,
      n,
      node,
      error,
    })),
    [
      {
        level: "warn",
        component: "felix",
        msg: "three",
        n: 3,
        node: "a",
        error: { message: "why" },
      },
    ],
  );
  const inFile = readFileSync(path, "utf8").trim().split("\n");
  assert.deepEqual(
    inFile.map((line) => (JSON.parse(line) as { msg: string }).msg),
    ["one", "two", "three"],
    "nothing is lost at exit",
  );
});

test("a file that cannot be opened is said, and the screen goes on", (t) => {
  const dir = tempDir(t);
  execFileSync("touch", [join(dir, "plain")]);
  const screen = stderrOf(`
    const { fileError } = await configureLogging(
      { screen: "info", file: { path: ${JSON.stringify(join(dir, "plain", "x.log"))}, level: "info" } });
    logger("felix").info("still here", { said: fileError?.message.slice(0, 7) });`);
  assert.match(screen, /still here/);
  assert.match(screen, /ENOTDIR|EEXIST/);
});

test("before it is configured, warnings are text on stderr and the rest is silent", () => {
  const screen = stderrOf(`logger("ctl").info("no"); logger("ctl").warn("yes", { path: "a b" });`);
  assert.match(screen, /WARN {2}ctl: yes path="a b"\n$/);
  assert.doesNotMatch(screen, /no/);
});

test("Felix's names of severities", () => {
  assert.deepEqual(["DEBUG", "Warning", "FATAL", "none", "TRACE", "loud"].map(logLevelOf), [
    "debug",
    "warn",
    "fatal",
    "off",
    "trace",
    undefined,
  ]);
});
