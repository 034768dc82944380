/** The order of things and what happens when a part fails, on the kernel in memory. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { parseCidr } from "#ip";
import { RT_SCOPE_LINK, RT_TABLE_MAIN, RTN_UNICAST, type Route } from "#netlink";
import { DataplaneWorld } from "../../support/dataplane-world.ts";
import { allRoutes } from "../../support/routes.ts";
import {
  endpointRemove,
  endpointUpdate,
  IN_SYNC,
  pod,
  workloadId,
} from "../../support/workload-host.ts";
import { hostEndpointUpdate } from "../../support/nft-world.ts";

const [a, b, c] = [pod(1), pod(2), pod(3)];

function makeWorld(
  t: TestContext,
  options?: { removeExternalRoutes: boolean },
  former?: DataplaneWorld,
): DataplaneWorld {
  const world = new DataplaneWorld(options, former);
  t.after(() => world.close());
  return world;
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
  const world = makeWorld(t);
  world.plug(a.interfaceName);
  const result = await world.send(endpointUpdate(a));
  assert.deepEqual(result, { complete: true, errors: [], writes: 0 });
  assert.equal(world.tableApplies, 0);
  assert.equal(world.kernel.writes, 0);
  assert.deepEqual(world.statuses, []);
});

test("a host endpoint is not thought to be without interface while the interfaces are unknown", async (t) => {
  const world = makeWorld(t);
  const read = world.kernel.addresses.bind(world.kernel);
  world.kernel.addresses = () => {
    throw new Error("kernel does not answer");
  };
  const hep = hostEndpointUpdate("hep", { expectedIpv4Addrs: ["10.0.0.11"] });
  const failed = await world.send(hep, IN_SYNC);
  assert.equal(failed.complete, false);
  assert.equal(world.tableApplies, 0, "what a former life programmed stays");
  world.kernel.addresses = read;
  const applied = await world.send();
  assert.equal(applied.complete, true);
  assert.equal(world.tableApplies, 1);
});

test("policy that cannot be programmed keeps routes away; it is told and tried again", async (t) => {
  const world = makeWorld(t);
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

test("a refusal that can be isolated is applied around at once, but not for ever", async (t) => {
  const world = makeWorld(t);
  const index = world.plug(a.interfaceName);
  world.tableError = new Error("kernel says no");
  world.isolate = () => true;
  assert.equal((await world.send(endpointUpdate(a), IN_SYNC)).complete, false);
  assert.ok(world.tableApplies > 1 && world.tableApplies < 100);
  world.isolate = () => {
    world.tableError = undefined;
    return true;
  };
  assert.equal((await world.dataplane.apply()).complete, true);
  assert.deepEqual(world.routes, [`10.65.0.1/32 ${index}`, `fd65::1/128 ${index}`]);
});

test("a start that cannot program policy leaves the routes of the former life", async (t) => {
  const world = makeWorld(t);
  const index = world.plug(a.interfaceName);
  const old = { ...foreignRoute("10.65.0.1/32", index, 80), priority: 1024 };
  world.kernel.write([{ kind: "replaceRoute", route: old }]);
  world.tableError = new Error("kernel says no");
  await world.send(endpointUpdate(a), IN_SYNC);
  assert.deepEqual(world.routes, [`10.65.0.1/32 ${index}`]);
});

test("while policy fails, endpoints that have theirs are still repaired", async (t) => {
  const world = makeWorld(t);
  const index = world.plug(a.interfaceName);
  const indexB = world.plug(b.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  world.tableError = new Error("kernel says no");
  const [route] = allRoutes(world.kernel, 4).filter(({ oif }) => oif === index);
  assert.ok(route !== undefined);
  world.kernel.foreignWrite({ kind: "deleteRoute", route });
  assert.equal(world.wanted, 1);
  await world.send(endpointUpdate(b));
  assert.ok(world.routes.includes(`10.65.0.1/32 ${index}`));
  assert.ok(!world.routes.some((each) => each.endsWith(` ${indexB}`)));
});

test("a route that is refused is tried again and is the endpoint's error", async (t) => {
  const world = makeWorld(t);
  world.plug(a.interfaceName);
  world.kernel.failNext("ENOMEM", "replaceRoute");
  const failed = await world.send(endpointUpdate(a), IN_SYNC);
  assert.match(failed.errors.map(String).join(), /ENOMEM/);
  assert.deepEqual(world.statuses, ["default/pod1 error"]);
  assert.equal((await world.dataplane.apply()).complete, true);
  assert.deepEqual(world.statuses.at(-1), "default/pod1 up");
});

test("a setting that cannot be written keeps the endpoint down until it can", async (t) => {
  const world = makeWorld(t);
  world.kernel.setLink(a.interfaceName, { up: true });
  const failed = await world.send(endpointUpdate(a), IN_SYNC);
  assert.equal(failed.complete, false);
  assert.deepEqual(world.statuses, ["default/pod1 down"]);
  world.resetSettings(a.interfaceName);
  assert.equal((await world.dataplane.apply()).complete, true);
  assert.equal(world.statuses.at(-1), "default/pod1 up");
});

test("two endpoints on one interface: the first in order has it, the other waits", async (t) => {
  const world = makeWorld(t);
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
  const world = makeWorld(t);
  world.plug(a.interfaceName);
  const indexB = world.plug(b.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  world.forgotten.length = 0;
  await world.send(endpointRemove(a), endpointUpdate(b, { ipv4Nets: [`${a.ipv4}/32`] }));
  assert.deepEqual(world.forgotten, ["10.65.0.1"], "at once: it is in use again");
  await delay(120);
  assert.deepEqual(world.forgotten, ["10.65.0.1", "fd65::1"]);
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

test("an interface that policy does not police gets neither routes nor settings", async (t) => {
  const world = makeWorld(t);
  world.plug("eth0");
  await world.send(endpointUpdate(a, { name: "eth0" }), IN_SYNC);
  assert.deepEqual(world.routes, []);
  assert.equal(world.setting("eth0", "proxy_arp"), "0");
  const index = world.plug(a.interfaceName);
  await world.send(endpointUpdate(a));
  assert.deepEqual(world.routes, [`10.65.0.1/32 ${index}`, `fd65::1/128 ${index}`]);
  assert.equal(world.setting(a.interfaceName, "proxy_arp"), "1");
  await world.send(endpointUpdate(a, { name: "eth0" }));
  assert.deepEqual(world.routes, []);
});

test("a start forgets connections of addresses that were not here before, and no others", async (t) => {
  const world = makeWorld(t);
  world.plug(a.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  assert.deepEqual(world.forgotten, ["10.65.0.1", "fd65::1"], "they may have been another's");
  await world.dataplane.close();
  const next = makeWorld(t, undefined, world);
  next.plug(b.interfaceName);
  await next.send(endpointUpdate(a), endpointUpdate(b), IN_SYNC);
  assert.deepEqual(next.forgotten, ["10.65.0.2", "fd65::2"]);
  next.plug(c.interfaceName);
  await next.send(endpointUpdate(c));
  assert.equal(next.forgotten.length, 2, "what leaves during this life is cleaned when it leaves");
});

test("others' routes on workload interfaces go after the grace period", async (t) => {
  const world = makeWorld(t);
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
  const world = makeWorld(t, { removeExternalRoutes: false });
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
  const world = makeWorld(t);
  const index = world.plug(a.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  for (const family of [4, 6] as const) {
    for (const route of allRoutes(world.kernel, family)) {
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
  const world = makeWorld(t);
  world.plug(a.interfaceName);
  await world.send(endpointUpdate(a), IN_SYNC);
  await world.send(endpointUpdate(a, { state: "inactive" }));
  assert.deepEqual(world.routes, []);
  assert.deepEqual(world.statuses, ["default/pod1 up", "default/pod1 down"]);
});

test("what policy cannot enforce is the endpoint's error", async (t) => {
  const world = makeWorld(t);
  world.plug(a.interfaceName);
  world.problems.set(workloadId(a.name).workloadId, "not built yet");
  await world.send(endpointUpdate(a), IN_SYNC);
  assert.deepEqual(world.statuses, ["default/pod1 error"]);
  await world.send(endpointRemove(a));
  assert.deepEqual(world.statuses, ["default/pod1 error", "default/pod1 removed"]);
});
