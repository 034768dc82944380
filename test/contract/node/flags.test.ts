/** `margay node` as calico-node is called: one dash or two, Go's `-flag=true`. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { execFile } from "node:child_process";

const MARGAY = new URL("../../../bin/margay", import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), "margay-flags-"));
const felix = createServer((request, response) => {
  response.writeHead(request.url === "/liveness" ? 200 : 503).end();
});
let env: NodeJS.ProcessEnv;

before(async () => {
  await new Promise<void>((resolve) => felix.listen(0, "127.0.0.1", resolve));
  writeFileSync(join(dir, "nodename"), "host-a");
  env = {
    ...process.env,
    FELIX_HEALTHHOST: "127.0.0.1",
    FELIX_HEALTHPORT: String((felix.address() as AddressInfo).port),
    CALICO_NODENAME_FILE: join(dir, "nodename"),
    MARGAY_RUN_DIR: dir,
    MARGAY_SERVICE_DIR: dir,
  };
});
after(() => {
  felix.close();
  rmSync(dir, { recursive: true });
});

async function ran(...argv: readonly string[]): Promise<readonly [number, string]> {
  const run = promisify(execFile)(MARGAY, ["node", ...argv], { env });
  return await run.then(
    ({ stdout, stderr }) => [0, stdout + stderr] as const,
    (error: { code: number; stdout: string; stderr: string }) =>
      [error.code, error.stdout + error.stderr] as const,
  );
}

test("a probe is spelt -felix-live, --felix-live, -felix-live=true", async () => {
  for (const flag of ["-felix-live", "--felix-live", "-felix-live=true", "--felix-live=true"])
    assert.deepEqual(await ran(flag), [0, ""], flag);
  assert.deepEqual(await ran("-felix-live", "-felix-ready=false"), [0, ""]);
  const [code, text] = await ran("-felix-live", "-felix-ready=true");
  assert.equal(code, 1);
  assert.match(
    text,
    /^calico\/node is not ready: felix is not ready: readiness probe reporting 503/,
  );
});

test("a flag with a value: after a blank or an equals sign, of one dash or two", async () => {
  for (const flags of [["-threshold-time=1m"], ["--threshold-time=1m"], ["-threshold-time", "1m"]])
    assert.deepEqual(await ran("-felix-live", ...flags), [0, ""], flags.join(" "));
  const [code, text] = await ran("-felix-live", "-threshold-time=soon");
  assert.equal(code, 1);
  assert.match(text, /--threshold-time soon: expected 30s, 1m/);
});

test("the version, as calico-node -v", async () => {
  const whole = spawnSync(MARGAY, ["version"], { encoding: "utf8" }).stdout;
  assert.match(whole, /^margay \d+\.\d+\.\d+\n$/);
  for (const flag of ["-v", "--v", "-version", "--version"])
    assert.deepEqual(await ran(flag), [0, whole], flag);
  assert.equal(spawnSync(MARGAY, ["-v"], { encoding: "utf8" }).stdout, whole);
});

test("a word that is no command: what was meant, and what there is", async () => {
  for (const [word, meant] of [
    ["statu", "status"],
    ["startup", "-startup"],
    ["bird-ready", "-bird-ready"],
  ] as const) {
    const [code, text] = await ran(word);
    assert.equal(code, 1);
    assert.match(text, new RegExp(`no command "${word}"; did you mean margay node ${meant}\\?`));
    assert.match(text, /There are status, checksystem, diags/);
  }
  assert.match((await ran("run"))[1], /no command "run": margay node, .* starts the node/);
  const [code, text] = await ran("-bird-redy");
  assert.equal(code, 1);
  assert.match(text, /unknown option '--bird-redy'/);
});
