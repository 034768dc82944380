/** The routes that several parts want, and what others do to them, on the kernel in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatCidr, parseCidr, parseIp } from "#ip";
import {
  FakeRouteKernel,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_UNICAST,
  RTPROT_BIRD,
  type Link,
  type Route,
} from "#netlink";
import { defaultLinuxDataplaneConfig } from "../../../src/dataplane/linux/config.ts";
import { RouteDriver } from "../../../src/dataplane/linux/route-driver.ts";
import type { RouteClass } from "../../../src/dataplane/linux/route-table.ts";
import { allRoutes } from "../../support/routes.ts";

const CLASSES = ["local-workload", "vxlan-tunnel", "no-encap", "blackhole-vxlan"] as const;
const DSTS = ["10.65.0.0/26", "10.65.0.0/32", "10.65.0.1/32", "fd65::/122"];

interface World {
  readonly kernel: FakeRouteKernel;
  readonly driver: RouteDriver;
  readonly index: (name: string) => number;
  readonly advance: (ms: number) => void;
}

function makeWorld(): World {
  const kernel = new FakeRouteKernel();
  kernel.setLink("lo", { up: true, index: 1 });
  for (const name of ["cali1", "eth0", "vxlan.calico", "tunl0"]) kernel.setLink(name, { up: true });
  const links = (): Link[] => kernel.links();
  let nowMs = 0;
  const driver = new RouteDriver({
    kernel,
    config: defaultLinuxDataplaneConfig,
    linkByIndex: (index) => links().find((link) => link.index === index),
    nowMs: () => nowMs,
    onStale: () => {},
    onProblem: () => {},
  });
  kernel.watch((event) => {
    if (event.kind === "route") driver.observe(event.route, event.present, event.replaced);
  });
  return {
    kernel,
    driver,
    index: (name) => links().find((link) => link.name === name)?.index ?? 0,
    advance: (ms) => (nowMs += ms),
  };
}

function routeOf(world: World, routeClass: RouteClass, dst: string): Route {
  const route = {
    dst: parseCidr(dst),
    table: RT_TABLE_MAIN,
    protocol: 80,
    type: RTN_UNICAST,
    scope: RT_SCOPE_UNIVERSE,
    tos: 0,
    priority: 1024,
  };
  const gateway = parseIp(dst.includes(":") ? "fd00::9" : "10.0.0.9");
  switch (routeClass) {
    case "local-workload":
      return { ...route, oif: world.index("cali1") };
    case "vxlan-tunnel":
      return { ...route, oif: world.index("vxlan.calico"), gateway, onlink: true, mtu: 1450 };
    case "no-encap":
      return { ...route, oif: world.index("eth0"), gateway, onlink: true };
    default:
      return route.dst.family === 4
        ? { ...route, type: RTN_BLACKHOLE }
        : { ...route, type: RTN_BLACKHOLE, oif: 1 };
  }
}

function held(world: World): string[] {
  return [...allRoutes(world.kernel, 4), ...allRoutes(world.kernel, 6)]
    .map(({ dst, type, oif }) => `${formatCidr(dst)} ${type} ${oif ?? ""}`)
    .sort();
}

test("of several classes' routes the kernel gets the first's, whatever came before and between", () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("set" as const),
      routeClass: fc.constantFrom(...CLASSES),
      dst: fc.constantFrom(...DSTS),
      present: fc.boolean(),
    }),
    fc.record({
      kind: fc.constantFrom("foreign-delete" as const, "foreign-replace" as const),
      dst: fc.constantFrom(...DSTS),
      routeClass: fc.constantFrom(...CLASSES),
    }),
    fc.record({ kind: fc.constantFrom("apply" as const, "resync" as const, "forget" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const world = makeWorld();
      const { driver, kernel } = world;
      const wishes = new Map<string, Set<string>>(DSTS.map((dst) => [dst, new Set()]));
      driver.resync(() => {});
      for (const each of steps) {
        if (each.kind === "set") {
          const { dst, present, routeClass } = each;
          const route = present ? routeOf(world, routeClass, dst) : undefined;
          driver.set(routeClass, parseCidr(dst), route);
          if (present) wishes.get(dst)?.add(routeClass);
          else wishes.get(dst)?.delete(routeClass);
        } else if (each.kind === "foreign-delete" || each.kind === "foreign-replace") {
          const kind = each.kind === "foreign-delete" ? "deleteRoute" : "replaceRoute";
          kernel.foreignWrite({ kind, route: routeOf(world, each.routeClass, each.dst) });
        } else if (each.kind === "apply") assert.deepEqual(driver.apply().errors, []);
        else if (each.kind === "resync") driver.resync(() => {});
        else {
          kernel.setLink("vxlan.calico", { up: false });
          driver.forgetInterface(world.index("vxlan.calico"));
          kernel.setLink("vxlan.calico", { up: true });
        }
      }
      assert.deepEqual(driver.apply().errors, []);
      const wanted = DSTS.flatMap((dst) => {
        const best = CLASSES.find((routeClass) => wishes.get(dst)?.has(routeClass));
        if (best === undefined) return [];
        const { oif, type } = routeOf(world, best, dst);
        return [`${dst} ${type} ${oif ?? ""}`];
      });
      assert.deepEqual(held(world), wanted.sort());
      assert.equal(driver.count, wanted.length);
      assert.equal(driver.apply().writes, 0);
      driver.resync(() => {});
      assert.equal(driver.dirty, false);
    }),
    { numRuns: process.env["MARGAY_TEST_LONG"] === undefined ? 300 : 10_000 },
  );
});

test("what another program left on our devices goes, after a while, and elsewhere it stays", () => {
  const world = makeWorld();
  const { driver, kernel } = world;
  const foreign = (dst: string, name: string, protocol: number): void =>
    kernel.foreignWrite({
      kind: "replaceRoute",
      route: {
        ...routeOf(world, "local-workload", dst),
        oif: world.index(name),
        protocol,
      },
    });
  foreign("10.66.0.0/26", "vxlan.calico", 4);
  foreign("10.67.0.0/26", "tunl0", RTPROT_BIRD);
  foreign("10.68.0.0/26", "tunl0", 4);
  foreign("10.69.0.0/26", "eth0", RTPROT_BIRD);
  driver.resync(() => {});
  assert.equal(driver.apply().writes, 0, "somebody may be about to tell us of them");
  world.advance(10_000);
  driver.apply();
  assert.deepEqual(
    held(world).map((line) => line.split(" ")[0]),
    ["10.68.0.0/26", "10.69.0.0/26"],
  );
});

test("a write that breaks off leaves nothing out the next time", () => {
  const world = makeWorld();
  const { driver, kernel } = world;
  driver.resync(() => {});
  driver.set("no-encap", parseCidr("10.65.0.0/26"), routeOf(world, "no-encap", "10.65.0.0/26"));
  driver.apply();
  driver.set("no-encap", parseCidr("10.65.0.0/26"), undefined);
  driver.set("no-encap", parseCidr("10.66.0.0/26"), routeOf(world, "no-encap", "10.66.0.0/26"));
  const write = kernel.write.bind(kernel);
  kernel.write = () => {
    throw new Error("the kernel did not answer");
  };
  assert.throws(() => driver.apply(), /did not answer/);
  assert.equal(driver.dirty, true);
  kernel.write = write;
  assert.deepEqual(driver.apply(), { writes: 2, errors: [] });
  assert.deepEqual(held(world), [`10.66.0.0/26 ${RTN_UNICAST} ${world.index("eth0")}`]);
});
