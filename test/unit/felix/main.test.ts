import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const MARGAY = fileURLToPath(new URL("../../../bin/margay", import.meta.url));

function margay(...args: string[]) {
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(MARGAY, args, {
    encoding: "utf8",
    env: { ...process.env, FELIX_LOGFILEPATH: "none" },
  });
  return { status, stdout, stderr, tookMs: performance.now() - started };
}

test("--version and --help cost little more than the start of Node", () => {
  const best = { floor: Infinity, "--version": Infinity, "--help": Infinity };
  // In turns, so that what else the machine does meanwhile hits all of them.
  for (let round = 0; round < 8; round++) {
    const started = performance.now();
    spawnSync(process.execPath, ["-e", "0"]);
    best.floor = Math.min(best.floor, performance.now() - started);
    for (const option of ["--version", "--help"] as const) {
      const { status, tookMs } = margay(option);
      assert.equal(status, 0);
      best[option] = Math.min(best[option], tookMs);
    }
  }
  for (const option of ["--version", "--help"] as const) {
    const ratio = best[option] / best.floor;
    assert.ok(ratio < 3, `${option}: ${ratio.toFixed(1)} × node -e 0`);
  }
  assert.match(margay("--version").stdout, /^margay \d+\.\d+\.\d+\n$/);
});

test("help names every command, with an example for each group", () => {
  const { stdout } = margay("help");
  for (const name of ["get", "apply", "delete", "validate", "felix", "datastore", "lab"])
    assert.match(stdout, new RegExp(`^ {2}${name} {2,}\\w`, "m"));
  assert.match(stdout, /^ {4}margay apply -f policy\.yaml$/m);
});

test("an unknown command is an error with the nearest one", () => {
  const { status, stderr, stdout } = margay("aply", "-f", "x");
  assert.equal(status, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /no command "aply"; did you mean apply\?/);
});

test("an error is one line that says where; the stack only with --debug", () => {
  const plain = margay("felix", "-c", "/does/not/exist.cfg", "--print-config");
  assert.equal(plain.status, 1);
  assert.match(
    plain.stderr,
    /^margay: cannot read \/does\/not\/exist\.cfg: .*ENOENT.* \(config-file\)\n$/,
  );
  assert.match(margay("--debug", "felix", "-c", "/does/not/exist.cfg").stderr, /\n {4}at /);
});

test("completion for each shell", () => {
  for (const shell of ["bash", "zsh", "fish"])
    assert.match(margay("completion", shell).stdout, /apply/);
  assert.equal(margay("completion", "csh").status, 1);
});

test("a command that only calicoctl has is answered with what there is instead", () => {
  const { status, stderr } = margay("cluster", "diags");
  assert.equal(status, 1);
  assert.match(stderr, /"cluster" is not built yet: margay get clusterinformation/);
});
