/**
 * All that a lab consists of while it runs: wires, the datastore, hosts with their services, routers,
 * workloads; and what can be done to them: kill, cut, heal, add, remove.
 */
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "#ctl";
import type { Datastore } from "#datastore";
import { addToIp, cidrContainsIp, formatIp, parseCidr, parseIp, type Ip } from "#ip";
import type { Resource } from "#resource";
import { inputError, systemError } from "#std";
import { withAddresses } from "./addresses.ts";
import { startSpeaker } from "./bgp-speakers.ts";
import {
  endSessions,
  holderFile,
  holdHost,
  killAll,
  NODE,
  nodeResource,
  readPid,
  services,
  startNode,
  tryKill,
  type HostOptions,
} from "./host.ts";
import { bareAddress, MANAGEMENT, memberName } from "./names.ts";
import { LabProcesses, logFileOf, logTail, type ProcessState } from "./processes.ts";
import { applyResources, endpoint, labResources, profiles } from "./resources.ts";
import { networksOf } from "./spec-checks.ts";
import type { LabHost, LabPeer, LabSpec, LabWorkload, Listen } from "./spec.ts";
import { hostLink, memberLink, openLabStore, OWN_ADDRESS, storeEnvironment } from "./store.ts";
import { storeRecipes } from "./store.ts";
import { underlayRoutes } from "./underlay.ts";
import { Wires } from "./wires.ts";
import { addWorkloadWires, removeWorkloadWires } from "./workload-wires.ts";

const READY_TIMEOUT_MS = 60_000;

/** A workload as it lives: with addresses. Those that came in bulk take no part in the matrix. */
export interface PlacedWorkload extends LabWorkload {
  readonly probed: boolean;
}

export class World {
  readonly spec: LabSpec;
  readonly wires: Wires;
  readonly processes: LabProcesses;
  readonly hosts: LabHost[];
  readonly workloads: PlacedWorkload[] = [];
  readonly #failures: string[] = [];
  #hostsEver = 0;
  #store: Datastore | null = null;

  /** The wires are made at once; nothing is started. */
  constructor(spec: LabSpec) {
    this.spec = spec;
    this.processes = new LabProcesses((ended, detail) => {
      const what = `${ended.process} of ${ended.machine} ended (${detail})`;
      this.#failures.push(`${what}; the end of its log:\n${logTail(logFileOf(ended))}`);
    });
    this.hosts = [...spec.hosts];
    this.wires = new Wires(spec.etcdMembers === 0 ? spec.subnets : [...spec.subnets, MANAGEMENT]);
    for (const router of spec.routers) this.wires.addStation(router.name, true);
    for (const station of [...spec.hosts, ...spec.outside]) this.wires.addStation(station.name);
    for (const station of [...spec.routers, ...spec.hosts, ...spec.outside])
      for (const link of station.links) this.wires.addLink(station.name, link);
    for (const station of [...spec.routers, ...spec.hosts, ...spec.outside])
      this.wires.addRoutes(station.name, underlayRoutes(spec, station));
    if (spec.etcdMembers === 0) return;
    this.wires.addOwnLink(MANAGEMENT, OWN_ADDRESS);
    for (let index = 0; index < spec.etcdMembers; index++) {
      this.wires.addStation(memberName(index));
      this.wires.addLink(memberName(index), memberLink(index));
    }
    for (const host of spec.hosts) this.#joinManagement(host.name);
  }

  #joinManagement(host: string): void {
    if (this.spec.etcdMembers > 0) this.wires.addLink(host, hostLink(this.#hostsEver++));
  }

  get storeEnv(): Readonly<Record<string, string>> {
    return storeEnvironment(this.spec.etcdMembers);
  }

  startStore(): void {
    for (const recipe of storeRecipes(this.spec)) this.processes.start(recipe);
  }

  async openStore(): Promise<Datastore> {
    this.#store ??= await openLabStore(this.spec.etcdMembers);
    return this.#store;
  }

  get store(): Datastore {
    if (this.#store === null) throw inputError("lab-starting", "the lab is still starting");
    return this.#store;
  }

  /** Polls until true; a process that died, or the deadline, is an error with the ends of logs. */
  async until(done: () => Promise<boolean>, complaint: string): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    while (!(await done())) {
      const failure = this.#failures[0];
      if (failure !== undefined) throw systemError("lab-process", failure);
      if (performance.now() > deadline) {
        const logs = this.processes
          .list()
          .map((one) => `--- ${one.machine} ${one.process}\n${logTail(logFileOf(one))}`);
        const text = `${complaint} within ${READY_TIMEOUT_MS / 1000} s\n${logs.join("\n")}`;
        throw systemError("lab-timeout", text);
      }
      await delay(50);
    }
  }

  async applyResources(): Promise<void> {
    await applyResources(labResources(this.spec), this.storeEnv);
  }

  /** Addresses and wires. */
  async placeWorkloads(wanted: readonly LabWorkload[], probed: boolean): Promise<PlacedWorkload[]> {
    const placed: PlacedWorkload[] = [];
    for (const one of wanted)
      placed.push({ ...(await withAddresses(this.store, this.spec, one)), probed });
    addWorkloadWires(placed);
    return placed;
  }

  /** Into the datastore, all at once. */
  async writeEndpoints(placed: readonly PlacedWorkload[]): Promise<void> {
    const client = new Client(this.store);
    for (const profile of profiles(placed)) await client.apply(profile as Resource);
    await Promise.all(placed.map((one) => client.apply(endpoint(one) as Resource)));
    this.workloads.push(...placed);
  }

  /** Several alike on one host; `probed` puts them into the matrix. */
  async addNumbered(
    host: string,
    count: number,
    listen: readonly Listen[],
  ): Promise<PlacedWorkload[]> {
    this.#host(host);
    const taken = new Set(this.workloads.map((one) => one.name));
    const names: string[] = [];
    for (let number = 1; names.length < count; number++)
      if (!taken.has(`${host}-w${number}`)) names.push(`${host}-w${number}`);
    const wanted = names.map((name) => ({
      name,
      host,
      namespace: "default",
      labels: {},
      profiles: ["kns.default"],
      pools: [],
      addresses: [],
      listen,
    }));
    const placed = await this.placeWorkloads(wanted, listen.length > 0);
    await this.writeEndpoints(placed);
    return placed;
  }

  async startHost(host: LabHost): Promise<void> {
    await holdHost(host.name);
    await startNode(this.processes, this.#hostOptions(host), readPid(holderFile(host.name)));
  }

  async startRouters(): Promise<void> {
    for (const router of this.spec.routers) await startSpeaker(this.processes, router);
  }

  #hostOptions(host: LabHost): HostOptions {
    const bgp = this.spec.hosts.length > 1 || this.spec.routers.some((one) => one.bgp);
    return { host, storeEnv: this.storeEnv, bgp };
  }

  #host(name: string): LabHost {
    const host = this.hosts.find((one) => one.name === name);
    if (host !== undefined) return host;
    const names = this.hosts.map((one) => one.name).join(", ");
    throw inputError("no-such-host", `the lab has no host ${name}; there are: ${names}`);
  }

  /** On a subnet of the file, at its first free addresses. */
  async addHost(name: string, subnet: string): Promise<LabHost> {
    if (this.#names().includes(name))
      throw inputError("name-taken", `${name} is there already: names must differ`);
    const addresses = this.#freeAddresses(subnet);
    const link = { subnet, addresses, lossPercent: 0 };
    const host: LabHost = {
      name,
      addresses,
      listen: [],
      links: [link],
      labels: this.hosts.find((one) => one.links[0]?.subnet === subnet)?.labels ?? {},
      env: this.hosts[0]?.env ?? {},
    };
    this.wires.addStation(name);
    this.wires.addLink(name, link);
    this.wires.addRoutes(name, underlayRoutes(this.spec, host));
    this.#joinManagement(name);
    await new Client(this.store).apply(nodeResource(host) as Resource);
    this.hosts.push(host);
    await this.startHost(host);
    return host;
  }

  #names(): string[] {
    const { routers, outside } = this.spec;
    return [...routers, ...outside, ...this.hosts, ...this.workloads].map((one) => one.name);
  }

  #freeAddresses(subnet: string): string[] {
    const stations = [...this.spec.routers, ...this.hosts, ...this.spec.outside];
    const networks = [...new Set(stations.flatMap((one) => networksOf(one, subnet)))];
    if (networks.length === 0) {
      const names = this.spec.subnets.join(", ");
      throw inputError("no-such-subnet", `the lab has no subnet ${subnet}; there are: ${names}`);
    }
    const used = new Set(
      stations.flatMap((one) => one.addresses.map((a) => formatIp(parseIp(bareAddress(a))))),
    );
    return networks.map((network) => {
      const cidr = parseCidr(network);
      let ip: Ip | undefined = addToIp(cidr, 1);
      while (ip !== undefined && used.has(formatIp(ip))) ip = addToIp(ip, 1);
      if (ip === undefined || !cidrContainsIp(cidr, ip))
        throw inputError("subnet-full", `${network} has no free address`);
      return `${formatIp(ip)}/${cidr.prefixLen}`;
    });
  }

  /** For good: its machines end, and all that the datastore says of it goes, addresses too. */
  async removeHost(name: string): Promise<void> {
    const host = this.#host(name);
    await endSessions(name);
    await this.processes.remove(name);
    await killAll(name);
    tryKill(Number(readPid(holderFile(name))));
    for (const one of this.workloads.filter(({ host: on }) => on === name)) {
      removeWorkloadWires(one);
      this.workloads.splice(this.workloads.indexOf(one), 1);
    }
    this.wires.removeStation(name);
    // Endpoints, addresses and blocks go with the Node.
    await new Client(this.store).delete("Node", name);
    this.hosts.splice(this.hosts.indexOf(host), 1);
  }

  /**
   * SIGKILL for one process, or for all of a machine, whose links go down with it. Returns what was
   * killed. Throws `no-such-machine` and `not-running`.
   */
  async kill(machine: string, name?: string): Promise<readonly string[]> {
    this.#machine(machine);
    const running = this.processStates().filter(
      (one) => one.machine === machine && one.pid !== undefined,
    );
    const names = running.map((one) => one.process);
    if (name === undefined) {
      this.wires.set(this.wires.ofStation(machine), false);
      await this.processes.kill(machine);
      if (this.hosts.some((host) => host.name === machine)) await killAll(machine);
      return names;
    }
    const wanted = running.find((one) => one.process === name);
    if (wanted?.pid === undefined) {
      const there = names.length === 0 ? "nothing runs there" : `there run: ${names.join(", ")}`;
      throw inputError("not-running", `no ${name} runs on ${machine}; ${there}`);
    }
    const own = await this.processes.kill(machine, name);
    // A service: its supervisor sees it end.
    if (own.length === 0) tryKill(wanted.pid);
    return [name];
  }

  /** Of all machines, with the services that a host's supervisor runs. */
  processStates(): ProcessState[] {
    return this.processes
      .list()
      .flatMap((one) => (one.process === NODE ? [one, ...services(one.machine)] : [one]));
  }

  #machine(name: string): void {
    const names = [...this.processes.machines(), ...this.spec.routers.map((one) => one.name)];
    if (names.includes(name)) return;
    throw inputError(
      "no-such-machine",
      `the lab has no machine ${name}; there are: ${[...new Set(names)].join(", ")}`,
    );
  }

  cut(link: string): readonly string[] {
    const wires = this.wires.named(link);
    this.wires.set(wires, false);
    return wires.map((wire) => wire.name);
  }

  /** A link by its name; or a machine with all its links and what was killed on it. */
  heal(name: string): readonly string[] {
    const isMachine = !name.includes("/");
    const wires =
      isMachine && this.processes.machines().includes(name)
        ? this.wires.ofStation(name)
        : this.wires.named(name);
    const down = wires.filter((wire) => !wire.up);
    this.wires.set(down, true);
    const revived = isMachine ? this.processes.revive(name) : [];
    return [...down.map((wire) => wire.name), ...revived];
  }

  /** Who takes part in the matrix. */
  peers(): readonly LabPeer[] {
    const speakers = this.spec.routers.filter((one) => one.listen.length > 0);
    const workloads = this.workloads.filter((one) => one.probed);
    return [...workloads, ...this.hosts, ...speakers, ...this.spec.outside];
  }

  async close(): Promise<void> {
    this.processes.stopAll();
    await this.#store?.close();
  }
}
