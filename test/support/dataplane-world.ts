/** The Linux dataplane on a kernel in memory, with a policy table that does what the test says. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ToDataplane, WorkloadEndpointId } from "#calc";
import type { ApplyResult, LinuxDataplaneConfig } from "#dataplane";
import { formatCidr, formatIp } from "#ip";
import { FakeRouteKernel, type NftTable } from "#netlink";
import { defaultLinuxDataplaneConfig } from "../../src/dataplane/linux/config.ts";
import { LinuxDataplane } from "../../src/dataplane/linux/linux-dataplane.ts";
import { Sysctls } from "../../src/dataplane/linux/sysctls.ts";
import { allRoutes } from "./routes.ts";

export class DataplaneWorld {
  readonly kernel: FakeRouteKernel;
  readonly #root: string;
  readonly statuses: string[] = [];
  readonly forgotten: string[] = [];
  readonly problems = new Map<string, string>();
  readonly dataplane: LinuxDataplane;
  tableError: Error | undefined;
  isolate = (): boolean => false;
  tableApplies = 0;
  wanted = 0;
  nowMs = 0;

  /** `former`: the life before, in the same kernel. */
  constructor(options: Partial<LinuxDataplaneConfig> = {}, former?: DataplaneWorld) {
    this.kernel = former?.kernel ?? new FakeRouteKernel();
    this.#root =
      former === undefined ? mkdtempSync(join(tmpdir(), "margay-sysctl-")) : former.#root;
    this.kernel.setLink("lo", { up: true, index: 1 });
    this.dataplane = new LinuxDataplane({
      config: { ...defaultLinuxDataplaneConfig, ...options, ipForwarding: false },
      table: this.#table(),
      compiler: {
        onMessage: () => {},
        flush: () => ({ problemsChanged: [] }),
        isolate: () => this.isolate(),
        problemOf: (id: WorkloadEndpointId) => this.problems.get(id.workloadId),
        setHostInterfaces: () => {},
        hostProblemOf: () => undefined,
        unenforcedPolicies: 0,
        hostInterfacesOf: () => [],
      },
      kernel: this.kernel,
      conntrack: {
        forget: (addresses) => void this.forgotten.push(...addresses.map(formatIp)),
        close: () => {},
      },
      sysctls: new Sysctls(false, this.#root),
      nowMs: () => this.nowMs,
      random: () => 0,
    });
    this.dataplane.onWanted(() => this.wanted++);
    this.dataplane.onStatus((message) => {
      if (message.case === "workloadEndpointStatusUpdate") {
        this.statuses.push(`${message.value.id.workloadId} ${message.value.status}`);
      } else if (message.case === "workloadEndpointStatusRemove") {
        this.statuses.push(`${message.value.id.workloadId} removed`);
      }
    });
  }

  async close(): Promise<void> {
    await this.dataplane.close();
    rmSync(this.#root, { recursive: true, force: true });
  }

  #table(): NftTable {
    const unused = (): never => assert.fail("only the compiler writes to the table");
    return {
      setChain: unused,
      removeChain: unused,
      setSet: unused,
      addElements: unused,
      removeElements: unused,
      removeSet: unused,
      dirty: true,
      repairs: 0,
      counts: () => ({ chains: 0, rules: 0, sets: 0, maps: 0 }),
      apply: async () => {
        this.tableApplies++;
        if (this.tableError !== undefined) throw this.tableError;
        return { messages: 0, generation: 1 };
      },
      onForeignChange: () => {},
      close: () => {},
    };
  }

  /** A new interface has the kernel's default settings. */
  plug(name: string, up = true): number {
    if (!this.kernel.links().some((link) => link.name === name)) this.resetSettings(name);
    return this.kernel.setLink(name, { up });
  }

  resetSettings(name: string): void {
    for (const directory of [`ipv4/conf/${name}`, `ipv4/neigh/${name}`]) {
      mkdirSync(join(this.#root, directory), { recursive: true });
    }
    for (const setting of ["route_localnet", "proxy_arp", "forwarding", "rp_filter"]) {
      writeFileSync(join(this.#root, "ipv4/conf", name, setting), "0\n");
    }
  }

  setting(name: string, setting: string): string {
    return readFileSync(join(this.#root, "ipv4/conf", name, setting), "utf8").trim();
  }

  async send(...messages: readonly ToDataplane[]): Promise<ApplyResult> {
    for (const message of messages) this.dataplane.onMessage(message);
    return this.dataplane.apply();
  }

  /** Neighbours, and the gateway's route. */
  get state(): string[] {
    const neighbours = [...this.kernel.neighbours(4), ...this.kernel.neighbours(6)].map(
      ({ address, ifindex, mac }) => `${formatIp(address)} ${ifindex} ${mac}`,
    );
    const gateway = allRoutes(this.kernel, 4).filter(({ oif }) => oif === 1);
    return [...neighbours, ...gateway.map(({ dst }) => formatCidr(dst))].sort();
  }

  /** Routes but the gateway's. */
  get routes(): string[] {
    return [...allRoutes(this.kernel, 4), ...allRoutes(this.kernel, 6)]
      .filter(({ oif }) => oif !== 1)
      .map(({ dst, oif }) => `${formatCidr(dst)} ${oif}`)
      .sort();
  }
}
