/**
 * The first process inside the sandbox: builds the world, starts everything in it, then measures: once,
 * or until it is told to stop, while the control socket takes orders.
 */
import { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, systemError, unreachable } from "#std";
import { serveControl, type Change, type ControlRequest, type LabStatus } from "./control.ts";
import { READINESS } from "./host.ts";
import { describeSurprise, measure, surprises, type Cell } from "./matrix.ts";
import { interfaceOf } from "./names.ts";
import { observeHost, type HostView } from "./observe.ts";
import { Probers } from "./probers.ts";
import type { LabSpec } from "./spec.ts";
import { privateRun, startWorld } from "./start.ts";
import { storeEnvironment } from "./store.ts";
import { drawStatus, LiveView, Progress } from "./view.ts";
import { World } from "./world.ts";

/** A connection that has no answer by then counts as denied; a veth pair answers in well under a millisecond. */
const PROBE_TIMEOUT_MS = 400;
/** The agents may still be at work, and between hosts BGP: what differs gets this long to become as expected. */
const ONCE_TIMEOUT_MS = { oneHost: 10_000, manyHosts: 30_000 } as const;
const ROUND_INTERVAL_MS = 500;
const OBSERVE_INTERVAL_MS = 1000;

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

class Lab {
  ready = false;
  readonly #spec: LabSpec;
  readonly #startedAt = performance.now();
  readonly #aborter = new AbortController();
  readonly #probers = new Probers();
  #world: World | null = null;
  #cells: readonly Cell[] = [];
  #hosts: readonly HostView[] = [];
  #observedAt = Number.NEGATIVE_INFINITY;
  #rounds = 0;
  #lastChange = "";
  #wake: () => void = () => {};

  constructor(spec: LabSpec) {
    this.#spec = spec;
  }

  async start(): Promise<void> {
    const progress = new Progress(process.stderr);
    const step = (text: string): void => progress.step(text);
    privateRun();
    step("building namespaces and wires");
    const world = new World(this.#spec);
    this.#world = world;
    serveControl((request) => this.#obey(request)).unref();
    await startWorld(world, step);
    step("waiting for the agents to be ready");
    await Promise.all(world.peers().map((peer) => this.#probers.add(peer)));
    await world.until(() => this.#agentsReady(world), "not all agents become ready");
    await this.#watchStore(world);
    progress.done();
    this.ready = true;
  }

  async #agentsReady(world: World): Promise<boolean> {
    const { port, path } = READINESS;
    const ready = await Promise.all(
      world.hosts.map(({ name }) => this.#probers.httpOk(name, port, path, 1000)),
    );
    return ready.every(Boolean);
  }

  /** A change in the store starts the next round at once and names itself in the heading. */
  async #watchStore(world: World): Promise<void> {
    const prefix = "/calico/resources/v3/";
    const { revision } = await world.store.list(prefix);
    const watch = world.store.watch(prefix, revision + 1, this.#aborter.signal);
    void (async () => {
      try {
        for await (const batch of watch) {
          for (const event of batch.events) {
            const key = event.type === "put" ? event.kv.key : event.key;
            this.#lastChange = `${event.type} ${key.replace(`${prefix}projectcalico.org/`, "")}`;
          }
          if (batch.events.length > 0) this.#wake();
        }
      } catch (error) {
        // With its datastore killed the lab goes on; only the heading does not follow.
        this.#lastChange = `unknown: the watch on the datastore ended: ${messageOf(error)}`;
      }
    })();
  }

  async #obey(request: ControlRequest): Promise<unknown> {
    if (request.op === "status") return this.status();
    if (request.op === "stop") {
      // As a signal does, in whatever the lab is doing.
      process.kill(process.pid, "SIGTERM");
      return {};
    }
    const world = this.#world;
    if (world === null || !this.ready)
      throw systemError("lab-starting", "the lab is still starting");
    const done = await this.#change(world, request);
    this.#observedAt = Number.NEGATIVE_INFINITY;
    this.#wake();
    return done;
  }

  async #change(world: World, request: Change): Promise<unknown> {
    switch (request.op) {
      case "kill":
        return world.kill(request.machine, request.process);
      case "cut":
        return world.cut(request.name);
      case "heal":
        return world.heal(request.name);
      case "add-host": {
        const host = await world.addHost(request.name, request.subnet);
        await this.#probers.add(host);
        return host;
      }
      case "remove-host": {
        const gone = world.workloads.filter((one) => one.host === request.name && one.probed);
        for (const { name } of [...gone, { name: request.name }]) await this.#probers.remove(name);
        return world.removeHost(request.name);
      }
      case "add-workloads": {
        const added = await world.addNumbered(request.host, request.count, request.listen);
        for (const one of added) if (one.probed) await this.#probers.add(one);
        return added;
      }
      default:
        return unreachable(request);
    }
  }

  async #round(): Promise<readonly Cell[]> {
    const world = this.#world;
    if (world === null) return [];
    const cells = await measure(world.peers(), this.#spec.expect, (from, targets) =>
      this.#probers.probe(from, targets, PROBE_TIMEOUT_MS),
    );
    if (performance.now() - this.#observedAt > OBSERVE_INTERVAL_MS) {
      this.#observedAt = performance.now();
      this.#hosts = await Promise.all(world.hosts.map(({ name }) => observeHost(name)));
    }
    this.#cells = cells;
    this.#rounds += 1;
    return cells;
  }

  async once(options: RunOptions): Promise<number> {
    const deadline =
      performance.now() + ONCE_TIMEOUT_MS[this.#spec.hosts.length === 1 ? "oneHost" : "manyHosts"];
    let cells = await this.#round();
    while (surprises(cells).length > 0 && performance.now() < deadline) {
      await delay(200);
      cells = await this.#round();
    }
    const wrong = surprises(cells);
    const status = this.status();
    const { name, hosts } = status;
    const text = options.json
      ? JSON.stringify({ name, asExpected: wrong.length === 0, cells, hosts }, null, 2)
      : drawStatus(status, process.stdout.isTTY);
    process.stdout.write(`${text}\n`);
    for (const cell of wrong) process.stderr.write(`${describeSurprise(cell)}\n`);
    return wrong.length === 0 ? 0 : 1;
  }

  async live(stopped: Promise<void>): Promise<number> {
    const view = new LiveView(process.stdout);
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
        await this.#round();
        const tookMs = performance.now() - started;
        view.show({ status: this.status(), tookMs, lastChange: this.#lastChange });
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
    const world = this.#world;
    const stations = [...this.#spec.routers, ...(world?.hosts ?? []), ...this.#spec.outside];
    const workloads = (world?.workloads ?? []).map((one) => ({
      name: one.name,
      addresses: one.addresses,
      interface: interfaceOf(one),
      host: one.host,
    }));
    return {
      name: this.#spec.name,
      ready: this.ready,
      environment: storeEnvironment(this.#spec.etcdMembers),
      uptimeSeconds: Math.round((performance.now() - this.#startedAt) / 1000),
      rounds: this.#rounds,
      processes: world?.processStates() ?? [],
      wires: world?.wires.list() ?? [],
      hosts: this.#hosts,
      peers: [...stations.map(({ name, addresses }) => ({ name, addresses })), ...workloads],
      cells: this.#cells,
    };
  }

  async stop(): Promise<void> {
    this.#aborter.abort();
    await this.#probers.close();
    await this.#world?.close();
  }
}
