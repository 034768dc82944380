/**
 * The first process inside the sandbox: builds the wires, starts the store, the agent and the
 * probers, applies the resources, then measures: once, or until it is told to stop.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { Socket } from "node:net";
import { embeddedSocketPath, openDatastore, type Datastore } from "#datastore";
import { messageOf, systemError } from "#std";
import { serveControl, type LabStatus } from "./control.ts";
import { describeSurprise, drawMatrix, measure, peersOf, surprises, type Cell } from "./matrix.ts";
import { Probers } from "./probers.ts";
import { LabProcesses, logTail } from "./processes.ts";
import { labResources } from "./resources.ts";
import { LAB_DIR, margayCommand } from "./sandbox.ts";
import type { LabSpec } from "./spec.ts";
import { buildTopology, interfaceOf, netnsPath } from "./topology.ts";
import { LiveView, Progress } from "./view.ts";

export const STORE_DIR = `${LAB_DIR}/store`;
const HEALTH_PORT = 9099;
/** A connection that has no answer by then counts as denied; a veth pair answers in well under a millisecond. */
const PROBE_TIMEOUT_MS = 400;
const READY_TIMEOUT_MS = 30_000;
/** A denied cell must stay what it is for a moment: the agent may still be applying. */
const ONCE_TIMEOUT_MS = 10_000;
const ROUND_INTERVAL_MS = 500;

export interface RunOptions {
  readonly once: boolean;
  readonly json: boolean;
}

export async function runInside(spec: LabSpec, options: RunOptions): Promise<number> {
  const lab = new Lab(spec);
  const stopped = whenToldToStop();
  try {
    await Promise.race([lab.start(), stopped]);
    if (!lab.ready) return 130;
    return await (options.once ? lab.once(options) : lab.live(stopped));
  } finally {
    await lab.stop();
  }
}

/** SIGTERM, SIGINT, SIGHUP, or the end of the lifeline pipe that the outside holds open on descriptor 3. */
function whenToldToStop(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.once(signal, () => resolve());
    // A socket, not a file stream: a blocking read in the thread pool would keep the process from ending.
    new Socket({ fd: 3, readable: true, writable: false })
      .on("data", () => {})
      .on("error", () => resolve())
      .on("close", () => resolve());
  });
}

/** `lab down` ends a lab as a signal does, in whatever it is doing. */
function stopSelf(): unknown {
  process.kill(process.pid, "SIGTERM");
  return { stopping: true };
}

class Lab {
  ready = false;
  readonly #spec: LabSpec;
  readonly #startedAt = performance.now();
  readonly #processes = new LabProcesses((ended, detail) => {
    this.#failures.push(
      `${ended.name} ended (${detail}); the end of its log:\n${logTail(ended.logFile)}`,
    );
  });
  readonly #failures: string[] = [];
  readonly #aborter = new AbortController();
  #probers: Probers | null = null;
  #store: Datastore | null = null;
  #cells: readonly Cell[] = [];
  #rounds = 0;
  #lastChange = "";
  #wake: () => void = () => {};

  constructor(spec: LabSpec) {
    this.#spec = spec;
  }

  async start(): Promise<void> {
    const progress = new Progress(process.stderr);
    privateRun();
    progress.step("building namespaces and wires");
    buildTopology(this.#spec);
    const control = serveControl((request) =>
      request.op === "status" ? this.status() : stopSelf(),
    );
    control.unref();
    progress.step("starting the datastore");
    this.#processes.start("datastore", ["datastore", "--data-dir", STORE_DIR], undefined, {});
    const probers = Probers.start(peersOf(this.#spec));
    // Before anybody else opens the store: who comes first owns it.
    await this.#until(
      () => Promise.resolve(existsSync(embeddedSocketPath(STORE_DIR))),
      "the datastore does not listen",
    );
    progress.step("applying the resources");
    await applyResources(this.#spec);
    progress.step("starting the agent");
    this.#processes.start("felix", ["felix", "--reexec"], netnsPath(this.#spec.host.name), {
      DATASTORE_TYPE: "embedded",
      MARGAY_DATA_DIR: STORE_DIR,
      FELIX_FELIXHOSTNAME: this.#spec.host.name,
      FELIX_HEALTHENABLED: "true",
      FELIX_HEALTHPORT: String(HEALTH_PORT),
      FELIX_LOGFILEPATH: "none",
    });
    this.#probers = await probers;
    progress.step("waiting for the agent to be ready");
    await this.#until(() => this.#agentReady(), "the agent does not become ready");
    await this.#watchStore();
    progress.done();
    this.ready = true;
  }

  #agentReady(): Promise<boolean> {
    return (
      this.#probers?.httpOk(this.#spec.host.name, HEALTH_PORT, "/readiness", 1000) ??
      Promise.resolve(false)
    );
  }

  /** Polls until true; a process that died, or the deadline, is an error with the end of its log. */
  async #until(done: () => Promise<boolean>, complaint: string): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    while (!(await done())) {
      const failure = this.#failures[0];
      if (failure !== undefined) throw systemError("lab-process", failure);
      if (performance.now() > deadline) {
        const logs = this.#processes
          .list()
          .map(({ name }) => `--- ${name}\n${logTail(`${LAB_DIR}/${name}.log`)}`);
        throw systemError(
          "lab-timeout",
          `${complaint} within ${READY_TIMEOUT_MS / 1000} s\n${logs.join("\n")}`,
        );
      }
      await delay(50);
    }
  }

  /** A change in the store starts the next round at once and names itself in the heading. */
  async #watchStore(): Promise<void> {
    this.#store = await openDatastore({ type: "embedded", embedded: { dataDir: STORE_DIR } });
    const { revision } = await this.#store.list("/calico/resources/v3/");
    const watch = this.#store.watch("/calico/resources/v3/", revision + 1, this.#aborter.signal);
    void (async () => {
      try {
        for await (const batch of watch) {
          for (const event of batch.events) {
            const key = event.type === "put" ? event.kv.key : event.key;
            this.#lastChange = `${event.type} ${key.replace("/calico/resources/v3/projectcalico.org/", "")}`;
          }
          if (batch.events.length > 0) this.#wake();
        }
      } catch (error) {
        this.#failures.push(`the watch on the datastore ended: ${messageOf(error)}`);
      }
    })();
  }

  async #round(): Promise<readonly Cell[]> {
    const probers = this.#probers;
    if (probers === null) return [];
    this.#cells = await measure(this.#spec, (from, targets) =>
      probers.probe(from, targets, PROBE_TIMEOUT_MS),
    );
    this.#rounds += 1;
    return this.#cells;
  }

  async once(options: RunOptions): Promise<number> {
    const deadline = performance.now() + ONCE_TIMEOUT_MS;
    let cells = await this.#round();
    while (surprises(cells).length > 0 && performance.now() < deadline) {
      await delay(200);
      cells = await this.#round();
    }
    const wrong = surprises(cells);
    if (options.json) {
      process.stdout.write(
        `${JSON.stringify({ name: this.#spec.name, asExpected: wrong.length === 0, cells }, null, 2)}\n`,
      );
    } else {
      process.stdout.write(`${drawMatrix(cells, { colour: process.stdout.isTTY })}\n`);
    }
    for (const cell of wrong) process.stderr.write(`${describeSurprise(cell)}\n`);
    return wrong.length === 0 ? 0 : 1;
  }

  async live(stopped: Promise<void>): Promise<number> {
    const view = new LiveView(process.stdout, this.#spec);
    const ending = new AbortController();
    const end = (): void => {
      ending.abort();
      this.#wake();
    };
    void stopped.then(end);
    view.open();
    try {
      while (!ending.signal.aborted) {
        const started = performance.now();
        const cells = await this.#round();
        const failure = this.#failures[0];
        if (failure !== undefined) throw systemError("lab-process", failure);
        view.show({
          cells,
          number: this.#rounds,
          tookMs: performance.now() - started,
          lastChange: this.#lastChange,
        });
        if (!ending.signal.aborted) await this.#pause();
      }
    } finally {
      view.close();
    }
    return 0;
  }

  async #pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ROUND_INTERVAL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }

  status(): LabStatus {
    const plain = [this.#spec.host, ...this.#spec.outside].map(({ name, addresses }) => ({
      name,
      addresses,
    }));
    const workloads = this.#spec.workloads.map((w) => ({
      name: w.name,
      addresses: w.addresses,
      interface: interfaceOf(w),
    }));
    return {
      name: this.#spec.name,
      ready: this.ready,
      uptimeSeconds: Math.round((performance.now() - this.#startedAt) / 1000),
      rounds: this.#rounds,
      processes: this.#processes.list(),
      peers: [...plain, ...workloads],
      cells: this.#cells,
    };
  }

  async stop(): Promise<void> {
    this.#aborter.abort();
    this.#processes.stopAll();
    await this.#probers?.close();
    await this.#store?.close();
  }
}

/** /run becomes a tmpfs of this mount namespace: namespaces' names, sockets, logs and the store live there. */
function privateRun(): void {
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], {
    encoding: "utf8",
  });
  if (mounted.status !== 0)
    throw systemError("lab-sandbox", `mount tmpfs on /run: ${mounted.stderr.trim()}`);
  mkdirSync(LAB_DIR, { recursive: true, mode: 0o700 });
}

/** Through the same command that a user types, so that the lab proves it. */
function applyResources(spec: LabSpec): Promise<void> {
  const { program, args } = margayCommand("apply", "-f", "-");
  const child = spawn(program, args, {
    stdio: ["pipe", "ignore", "pipe"],
    env: { ...process.env, DATASTORE_TYPE: "embedded", MARGAY_DATA_DIR: STORE_DIR },
  });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  child.stdin.end(
    labResources(spec)
      .map((resource) => JSON.stringify(resource))
      .join("\n---\n"),
  );
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      if (code === 0) resolve();
      else
        reject(
          systemError("lab-resources", `the lab's resources were refused:\n${complaint.trim()}`),
        );
    });
  });
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
