/** A lab as its user has it: `margay lab up` in one terminal, commands in another. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { askLab, type Change, type LabStatus } from "../../src/lab/control.ts";
import type { Cell } from "../../src/lab/matrix.ts";
import { runningLabs } from "../../src/lab/sandbox.ts";
import type { TrafficCounts } from "./lab-traffic.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const MARGAY = join(ROOT, "bin/margay");

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function margay(...args: readonly string[]): Ran {
  return spawnSync(MARGAY, args, { encoding: "utf8", cwd: ROOT, timeout: 120_000 });
}

/** Of whatever user, inside the lab too. */
export function processesOf(lab: string): string[] {
  return readdirSync("/proc").filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0").includes(lab);
    } catch {
      return false;
    }
  });
}

export async function until(
  what: string,
  done: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<number> {
  const started = performance.now();
  while (!(await done())) {
    assert.ok(performance.now() - started < timeoutMs, `timed out: ${what}`);
    await delay(100);
  }
  return performance.now() - started;
}

/** What `lab status -o json` prints; without a process for each question. */
export async function statusOf(name: string): Promise<LabStatus | undefined> {
  const lab = runningLabs().find((one) => one.name === name);
  if (lab === undefined) return undefined;
  return (await askLab(lab, { op: "status" }).catch(() => undefined)) as LabStatus | undefined;
}

export class TestLab {
  readonly name: string;
  readonly dir = mkdtempSync(join(tmpdir(), "margay-lab-test-"));
  readonly child: ChildProcess;
  output = "";

  /** `text` is a lab file; its name becomes one of this test's own, so that a lab of the user's is not in the way. */
  constructor(name: string, text: string) {
    this.name = `mgy${name}${process.pid}`;
    const file = join(this.dir, "lab.yaml");
    writeFileSync(file, text.replace(/^name: .*$/m, `name: ${this.name}`));
    this.child = spawn(MARGAY, ["lab", "up", file], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString();
      });
  }

  static example(name: string, file: string): TestLab {
    return new TestLab(name, readFileSync(join(ROOT, "examples", file), "utf8"));
  }

  /** Until it runs. */
  async ready(): Promise<void> {
    await until(`the lab runs\n${this.output}`, async () => {
      assert.equal(this.child.exitCode, null, this.output);
      return (await this.status())?.ready === true;
    });
  }

  status(): Promise<LabStatus | undefined> {
    return statusOf(this.name);
  }

  async cells(): Promise<readonly Cell[]> {
    return (await this.status())?.cells ?? [];
  }

  /** What `lab kill`, `lab cut`, … tell it; without a process for each. */
  async order(change: Change): Promise<unknown> {
    const lab = runningLabs().find((one) => one.name === this.name);
    assert.ok(lab !== undefined, `${this.name} does not run`);
    return await askLab(lab, change);
  }

  kill(machine: string, name?: string): Promise<unknown> {
    return this.order({ op: "kill", machine, ...(name === undefined ? {} : { process: name }) });
  }

  heal(name: string): Promise<unknown> {
    return this.order({ op: "heal", name });
  }

  /** `kill`, `cut`, …; fails when the command does. */
  lab(command: string, ...args: readonly string[]): string {
    const ran = margay("lab", command, "--lab", this.name, ...args);
    assert.equal(ran.status, 0, `lab ${command} ${args.join(" ")}: ${ran.stderr}`);
    return ran.stdout;
  }

  ctl(...args: readonly string[]): string {
    return this.lab("ctl", ...args);
  }

  /** One object, as `margay apply` takes it. */
  apply(kind: string, name: string, spec: object): void {
    const file = join(this.dir, "object.json");
    const object = { apiVersion: "projectcalico.org/v3", kind, metadata: { name }, spec };
    writeFileSync(file, JSON.stringify(object));
    this.ctl("apply", "-f", file);
  }

  exec(peer: string, ...command: readonly string[]): string {
    return this.lab("exec", peer, "--", ...command);
  }

  /** Until every connection is as the lab file expects, and every session is up. Returns the milliseconds. */
  asExpected(timeoutMs = 60_000): Promise<number> {
    const differs = async (): Promise<string> => {
      const status = await this.status();
      if (status === undefined || status.cells.length === 0) return "no cells";
      const cells = status.cells.filter((one) => one.allowed !== (one.expected ?? true));
      const down = status.hosts.flatMap(({ name, sessions }) =>
        sessions.filter((one) => !one.established).map((one) => `${name} ${one.name} ${one.info}`),
      );
      return [...cells.map((one) => JSON.stringify(one)), ...down].join("\n");
    };
    let last = "";
    return until(
      "the lab is as its file expects",
      async () => {
        last = await differs();
        return last === "";
      },
      timeoutMs,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${last}\n${this.output.slice(-2000)}`, { cause: error });
    });
  }

  /** Packets from one workload to another's echo port; the returned function stops them and counts. */
  async traffic(from: string, to: string, port: number): Promise<() => Promise<TrafficCounts>> {
    const peers = (await this.status())?.peers ?? [];
    const addresses = peers.find((peer) => peer.name === to)?.addresses ?? [];
    const script = join(ROOT, "test/support/lab-traffic.ts");
    const argv = ["lab", "exec", "--lab", this.name, from, "--", process.execPath];
    const child = spawn(MARGAY, [...argv, script, String(port), ...addresses], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    await until("packets flow", () => output.startsWith("started\n"));
    return async () => {
      child.stdin.end();
      await ended;
      return JSON.parse(output.slice("started\n".length)) as TrafficCounts;
    };
  }

  async close(): Promise<void> {
    if (this.child.exitCode === null) {
      this.child.kill("SIGTERM");
      await until("the lab ends", () => this.child.exitCode !== null, 15_000).catch(() =>
        this.child.kill("SIGKILL"),
      );
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}
