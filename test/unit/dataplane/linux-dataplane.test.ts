/** The order of things and what happens when a part fails, on the kernel in memory. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { ToDataplane, WorkloadEndpointId } from "#calc";
import { formatCidr, formatIp, parseCidr } from "#ip";
import { FakeRouteKernel, RT_SCOPE_LINK, RT_TABLE_MAIN, RTN_UNICAST, type Route } from "#netlink";
import { defaultLinuxDataplaneConfig } from "../../../src/dataplane/linux/config.ts";
import { LinuxDataplane } from "../../../src/dataplane/linux/linux-dataplane.ts";
import { Sysctls } from "../../../src/dataplane/linux/sysctls.ts";
import {
  endpointRemove,
  endpointUpdate,
  IN_SYNC,
  pod,
  workloadId,
} from "../../support/workload-host.ts";

const [a, b] = [pod(1), pod(2)];

class World {
  readonly kernel = new FakeRouteKernel();
  readonly root = mkdtempSync(join(tmpdir(), "margay-sysctl-"));
  readonly statuses: string[] = [];
  readonly forgotten: string[] = [];
  readonly problems = new Map<string, string>();
  readonly dataplane: LinuxDataplane;
  tableError: Error | undefined;
  tableApplies = 0;
  wanted = 0;
  nowMs = 0;

  constructor(t: TestContext, options: { removeExternalRoutes?: boolean } = {}) {
    this.kernel.setLink("lo", { up: true, index: 1 });
    this.dataplane = new LinuxDataplane({
      config: { ...defaultLinuxDataplaneConfig, ...options, ipForwarding: false },
      table: this.#table(),
      compiler: {
        onMessage: () => {},
        flush: () => ({ problemsChanged: [] }),
        problemOf: (id: WorkloadEndpointId) => this.problems.get(id.workloadId),
      },
      kernel: this.kernel,
      conntrack: {
        forget: (addresses) => void this.forgotten.push(...addresses.map(formatIp)),
        close: () => {},
      },
      sysctls: new Sysctls(false, this.root),
      nowMs: () => this.nowMs,
      random: () => 0,
    });
    this.dataplane.onWanted(() => this.wanted++);
    this.dataplane.onStatus((message) => {
      if (message.case === "processStatusUpdate") return;
      const { workloadId: name } = message.value.id;
      const gone = message.case === "workloadEndpointStatusRemove";
      this.statuses.push(`${name} ${gone ? "removed" : message.value.status}`);
    });
    t.after(async () => {
      await this.dataplane.close();
      rmSync(this.root, { recursive: true });
    });
  }

  #table() {
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
      apply: () => {
        this.tableApplies++;
        if (this.tableError !== undefined) throw this.tableError;
        return { messages: 0, generation: 1 };
      },
      onForeignChange: () => {},
      close: () => {},
    };
  }

  plug(name: string, up = true): number {
    for (const directory of [`ipv4/conf/${name}`, `ipv4/neigh/${name}`]) {
      mkdirSync(join(this.root, directory), { recursive: true });
    }
    for (const setting of ["route_localnet", "proxy_arp", "forwarding", "rp_filter"]) {
      writeFileSync(join(this.root, "ipv4/conf", name, setting), "0\n");
    }
    return this.kernel.setLink(name, { up });
  }

  async send(...messages: ToDataplane[]) {
    for (const message of messages) this.dataplane.onMessage(message);
    return this.dataplane.apply();
  }

  /** Routes but the gateway's. */
  get routes(): string[] {
    return [...this.kernel.routes(4), ...this.kernel.routes(6)]
      .filter(({ oif }) => oif !== 1)
      .map(({ dst, oif }) => `${formatCidr(dst)} ${oif}`)
      .sort();
  }
}

function foreignRoute(dst: string, oif: number, protocol: number): Route {
  return {
    dst: parseCidr(dst),
    table: RT_TABLE_MAIN,
    protocol,
    type: RTN_UNICAST,
    scope: RT_SCOPE_LINK,
    tos: 0,
    priority: 0,
    oif,
  };
}

test("nothing happens before in-sync", async (t) => {
  const world = new World(t);
  world.plug(a.interfaceName);
  const result = await world.send(endpointUpdate(a));
  assert.deepEqual(result, { complete: true, errors: [], writes: 0 });
  assert.equal(world.tableApplies, 0);
  assert.equal(world.kernel.writes, 0);
  assert.deepEqual(world.statuses, []);
});

test("policy that cannot be programmed keeps routes away; it is told and tried again", async (t) => {
  const world = new World(t);
  const index = world.plug(a.interfaceName);
  world.tableError = new Error("kernel says no");
  const failed = await world.send(endpointUpdate(a), IN_SYNC);
  assert.equal(failed.complete, false);
  assert.ok((failed.retryAfterMs ?? 0) > 0);
  assert.deepEqual(world.routes, []);
  assert.deepEqual(world.statuses, ["default/pod1 error"]);
  world.tableError = undefined;
  assert.equal((await world.dataplane.apply()).complete, true);
  assert.deepEqual(world.routes, [`10.65.0.1/32 ${index}`, `fd65::1/128 ${index}`]);
  assert.deepEqual(world.statuses, ["default/pod1 error", "default/pod1 up"]);
});

test("a start that cannot program policy leaves the routes of the former life", async (t) => {
  const world = new World(t);
  const index = world.plug(a.interfaceName);
  const old = { ...foreignRoute("10.65.0.1/32", index, 80), priority: 1024 };
  world.kernel.write([{ kind: "replaceRoute", route: old }]);
  world.tableError = new Error("kernel says no");
  await world.send(endpointUpdate(a), IN_SYNC);
  assert.deepEqual(world.routes, [`10.65.0.1/32 ${index}`]);
});

test("while policy fails, endpoints that have theirs are still repaired", async (t) => {
  const world = new World(t);
  const index = world.plug(a.interfaceName);
  const indexB = world.plug(b.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  world.tableError = new Error("kernel says no");
  const [route] = world.kernel.routes(4).filter(({ oif }) => oif === index);
  assert.ok(route !== undefined);
  world.kernel.foreignWrite({ kind: "deleteRoute", route });
  assert.equal(world.wanted, 1);
  await world.send(endpointUpdate(b));
  assert.ok(world.routes.includes(`10.65.0.1/32 ${index}`));
  assert.ok(!world.routes.some((each) => each.endsWith(` ${indexB}`)));
});

test("a route that is refused is tried again and is the endpoint's error", async (t) => {
  const world = new World(t);
  world.plug(a.interfaceName);
  world.kernel.failNext("ENOMEM");
  const failed = await world.send(endpointUpdate(a), IN_SYNC);
  assert.match(failed.errors.map(String).join(), /ENOMEM/);
  assert.deepEqual(world.statuses, ["default/pod1 error"]);
  assert.equal((await world.dataplane.apply()).complete, true);
  assert.deepEqual(world.statuses.at(-1), "default/pod1 up");
});

test("a setting that cannot be written keeps the endpoint down until it can", async (t) => {
  const world = new World(t);
  world.kernel.setLink(a.interfaceName, { up: true });
  const failed = await world.send(endpointUpdate(a), IN_SYNC);
  assert.equal(failed.complete, false);
  assert.deepEqual(world.statuses, ["default/pod1 down"]);
  world.plug(a.interfaceName);
  assert.equal((await world.dataplane.apply()).complete, true);
  assert.equal(world.statuses.at(-1), "default/pod1 up");
});

test("two endpoints on one interface: the first in order has it, the other waits", async (t) => {
  const world = new World(t);
  const index = world.plug(a.interfaceName);
  const second = endpointUpdate(b, { name: a.interfaceName });
  await world.send(second, endpointUpdate(a), IN_SYNC);
  assert.deepEqual(world.routes, [`10.65.0.1/32 ${index}`, `fd65::1/128 ${index}`]);
  assert.deepEqual(world.statuses.sort(), ["default/pod1 up", "default/pod2 down"]);
  await world.send(endpointRemove(a));
  assert.deepEqual(world.routes, [`10.65.0.2/32 ${index}`, `fd65::2/128 ${index}`]);
  assert.ok(world.statuses.includes("default/pod2 up"));
});

test("an address that moves leaves no connections behind", async (t) => {
  const world = new World(t);
  world.plug(a.interfaceName);
  const indexB = world.plug(b.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  assert.deepEqual(world.forgotten, []);
  await world.send(endpointRemove(a), endpointUpdate(b, { ipv4Nets: [`${a.ipv4}/32`] }));
  assert.deepEqual(world.forgotten.sort(), ["10.65.0.1", "fd65::1"]);
  assert.ok(world.routes.includes(`10.65.0.1/32 ${indexB}`));
  // An interface that only blinks keeps its connections.
  world.forgotten.length = 0;
  world.kernel.setLink(b.interfaceName, { up: false });
  await world.dataplane.apply();
  world.kernel.setLink(b.interfaceName, { up: true });
  await world.dataplane.apply();
  assert.deepEqual(world.forgotten, []);
  assert.ok(world.routes.includes(`10.65.0.1/32 ${indexB}`));
});

test("others' routes on workload interfaces go after the grace period", async (t) => {
  const world = new World(t);
  const index = world.plug(a.interfaceName);
  const uplink = world.kernel.setLink("eth0", { up: true });
  await world.send(endpointUpdate(a), IN_SYNC);
  world.kernel.foreignWrite({
    kind: "replaceRoute",
    route: foreignRoute("10.99.0.1/32", index, 3),
  });
  world.kernel.foreignWrite({
    kind: "replaceRoute",
    route: foreignRoute("10.98.0.1/32", uplink, 3),
  });
  world.kernel.foreignWrite({
    kind: "replaceRoute",
    route: foreignRoute("10.97.0.1/32", index, 2),
  });
  await world.dataplane.apply();
  assert.ok(world.routes.includes(`10.99.0.1/32 ${index}`));
  world.nowMs = 10_001;
  await world.dataplane.apply();
  assert.ok(!world.routes.includes(`10.99.0.1/32 ${index}`));
  assert.ok(world.routes.includes(`10.98.0.1/32 ${uplink}`), "not a workload's interface");
  assert.ok(world.routes.includes(`10.97.0.1/32 ${index}`), "the kernel's own");
});

test("RemoveExternalRoutes=false leaves others' routes", async (t) => {
  const world = new World(t, { removeExternalRoutes: false });
  const index = world.plug(a.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  world.kernel.foreignWrite({
    kind: "replaceRoute",
    route: foreignRoute("10.99.0.1/32", index, 3),
  });
  world.nowMs = 20_000;
  await world.dataplane.apply();
  assert.ok(world.routes.includes(`10.99.0.1/32 ${index}`));
});

test("lost notifications lead to a complete re-read", async (t) => {
  const world = new World(t);
  const index = world.plug(a.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  for (const family of [4, 6] as const) {
    for (const route of world.kernel.routes(family)) {
      if (route.oif === index) world.kernel.write([{ kind: "deleteRoute", route }]);
    }
  }
  await world.dataplane.apply();
  assert.deepEqual(world.routes, [], "nobody told");
  world.kernel.loseEvents();
  assert.equal(world.wanted, 1);
  await world.dataplane.apply();
  assert.equal(world.routes.length, 2);
});

test("an endpoint that is administratively down has no route", async (t) => {
  const world = new World(t);
  world.plug(a.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  await world.send(endpointUpdate(a, { state: "inactive" }));
  assert.deepEqual(world.routes, []);
  assert.deepEqual(world.statuses, ["default/pod1 up", "default/pod1 down"]);
});

test("what policy cannot enforce is the endpoint's error", async (t) => {
  const world = new World(t);
  world.plug(a.interfaceName);
  world.problems.set(workloadId(a.name).workloadId, "not built yet");
  await world.send(endpointUpdate(a), IN_SYNC);
  assert.deepEqual(world.statuses, ["default/pod1 error"]);
  await world.send(endpointRemove(a));
  assert.deepEqual(world.statuses, ["default/pod1 error", "default/pod1 removed"]);
});
