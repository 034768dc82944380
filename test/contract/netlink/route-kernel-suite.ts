/** What every `RouteKernel` does, the kernel's and the one in memory. */
import assert from "node:assert/strict";
import { formatCidr, formatIp, parseCidr, parseIp, parseMac } from "#ip";
import {
  NUD_PERMANENT,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  type Neighbour,
  type Route,
  type RouteEvent,
  type RouteKernel,
} from "#netlink";
import { allRoutes } from "../../support/routes.ts";

/** A namespace, and the hands of somebody else in it. */
export interface RouteWorld {
  readonly kernel: RouteKernel;
  /** Creates it if it is not there. */
  setLink(name: string, up: boolean): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  removeLink(name: string): Promise<void>;
  /** `ip route add/replace/del <args>`. */
  foreignRoute(verb: "replace" | "del", route: Route): Promise<void>;
  /** Until notifications that are under way have arrived. */
  settle(): Promise<void>;
}

export const routeKernelSuite: Readonly<Record<string, (world: RouteWorld) => Promise<void>>> = {
  async "an interface is told when it comes, goes up, is renamed and goes"(world) {
    const events = record(world.kernel);
    await world.setLink("wl0", false);
    await world.setLink("wl0", true);
    await world.setLink("wl0", false);
    await world.rename("wl0", "wl1");
    await world.removeLink("wl1");
    await world.settle();
    const links = events.flatMap((event) =>
      event.kind === "link" && event.link.name.startsWith("wl")
        ? [`${event.link.name} ${event.present ? (event.link.adminUp ? "up" : "down") : "gone"}`]
        : [],
    );
    const seen = links.filter((each, index) => each !== links[index - 1]);
    assert.deepEqual(seen, ["wl0 down", "wl0 up", "wl0 down", "wl1 down", "wl1 gone"]);
    assert.deepEqual(names(world), []);
  },

  async "routes of both families are written, read back and deleted"(world) {
    await world.setLink("wl0", true);
    const oif = indexOf(world, "wl0");
    const written = [route("10.65.0.1/32", oif), route("fd65::1/128", oif)];
    const replace = written.map((each) => ({ kind: "replaceRoute", route: each }) as const);
    assert.equal(world.kernel.write(replace).size, 0);
    assert.deepEqual(ours(world), ["10.65.0.1/32 80 1024 link", "fd65::1/128 80 1024"]);
    assert.equal(world.kernel.write(replace).size, 0, "again");
    const remove = written.map((each) => ({ kind: "deleteRoute", route: each }) as const);
    assert.equal(world.kernel.write(remove).size, 0);
    assert.deepEqual(ours(world), []);
    assert.deepEqual(
      [...world.kernel.write(remove).values()].map(({ errno }) => errno),
      ["ESRCH", "ESRCH"],
    );
  },

  async "a refused change does not hold up the others"(world) {
    await world.setLink("wl0", true);
    await world.setLink("wl1", false);
    const [up, down] = [indexOf(world, "wl0"), indexOf(world, "wl1")];
    const refusals = world.kernel.write([
      { kind: "replaceRoute", route: route("10.65.0.1/32", down) },
      { kind: "replaceRoute", route: route("10.65.0.2/32", up) },
      { kind: "replaceRoute", route: route("10.65.0.3/32", 9999) },
      { kind: "replaceRoute", route: route("10.65.0.4/32", up) },
    ]);
    assert.deepEqual(
      [...refusals].map(([index, { errno }]) => [index, errno]),
      [
        [0, "ENETDOWN"],
        [2, "ENODEV"],
      ],
    );
    assert.equal(ours(world).length, 2);
  },

  async "a replacement moves a route; the old one cannot be deleted any more"(world) {
    await world.setLink("wl0", true);
    await world.setLink("wl1", true);
    const [from, to] = [indexOf(world, "wl0"), indexOf(world, "wl1")];
    world.kernel.write([{ kind: "replaceRoute", route: route("10.65.0.1/32", from) }]);
    const refusals = world.kernel.write([
      { kind: "replaceRoute", route: route("10.65.0.1/32", to) },
      { kind: "deleteRoute", route: route("10.65.0.1/32", from) },
    ]);
    assert.equal(refusals.get(1)?.errno, "ESRCH");
    assert.deepEqual(
      allRoutes(world.kernel, 4).map(({ oif }) => oif),
      [to],
    );
  },

  async "an interface that goes down takes its routes and neighbours with it"(world) {
    await world.setLink("wl0", true);
    const oif = indexOf(world, "wl0");
    world.kernel.write([
      { kind: "replaceRoute", route: route("10.65.0.1/32", oif) },
      { kind: "replaceNeighbour", neighbour: neighbour("10.65.0.1", oif) },
    ]);
    assert.equal(ours(world).length, 1);
    assert.equal(permanent(world).length, 1);
    await world.setLink("wl0", false);
    assert.deepEqual(ours(world), []);
    assert.deepEqual(permanent(world), []);
  },

  async "what others do to routes is told, what we do is not"(world) {
    await world.setLink("wl0", true);
    await world.settle();
    const events = record(world.kernel);
    const oif = indexOf(world, "wl0");
    const mine = route("10.65.0.1/32", oif);
    world.kernel.write([{ kind: "replaceRoute", route: mine }]);
    await world.foreignRoute("replace", { ...mine, protocol: 4 });
    await world.foreignRoute("del", { ...mine, protocol: 4 });
    await world.settle();
    const told = events.flatMap((event) =>
      event.kind === "route" && formatCidr(event.route.dst) === "10.65.0.1/32"
        ? [[event.present, event.present && event.replaced, event.route.protocol]]
        : [],
    );
    assert.deepEqual(told, [
      [true, true, 4],
      [false, false, 4],
    ]);
  },

  async "neighbours are written, read back and deleted"(world) {
    await world.setLink("wl0", true);
    const ifindex = indexOf(world, "wl0");
    const written = [neighbour("10.65.0.1", ifindex), neighbour("fd65::1", ifindex)];
    const replace = written.map((each) => ({ kind: "replaceNeighbour", neighbour: each }) as const);
    assert.equal(world.kernel.write(replace).size, 0);
    assert.deepEqual(permanent(world), [
      "10.65.0.1 0a:00:00:00:00:01 80",
      "fd65::1 0a:00:00:00:00:01 80",
    ]);
    const remove = written.map((each) => ({ kind: "deleteNeighbour", neighbour: each }) as const);
    assert.equal(world.kernel.write(remove).size, 0);
    assert.equal(world.kernel.write(remove).get(0)?.errno, "ENOENT");
    assert.deepEqual(permanent(world), []);
  },

  async "many changes go in one call"(world) {
    await world.setLink("wl0", true);
    const oif = indexOf(world, "wl0");
    const routes = Array.from({ length: 1000 }, (_, index) =>
      route(`10.66.${index >> 8}.${index & 255}/32`, index % 2 === 0 ? oif : 9999),
    );
    const refusals = world.kernel.write(
      routes.map((each) => ({ kind: "replaceRoute", route: each }) as const),
    );
    assert.equal(refusals.size, 500);
    assert.ok([...refusals.keys()].every((index) => index % 2 === 1));
    assert.equal(ours(world).length, 500);
  },
};

function record(kernel: RouteKernel): RouteEvent[] {
  const events: RouteEvent[] = [];
  kernel.watch((event) => events.push(event));
  return events;
}

function route(dst: string, oif: number): Route {
  const cidr = parseCidr(dst);
  return {
    dst: cidr,
    table: RT_TABLE_MAIN,
    protocol: 80,
    type: RTN_UNICAST,
    scope: cidr.family === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
    tos: 0,
    priority: 1024,
    oif,
  };
}

function neighbour(address: string, ifindex: number): Neighbour {
  return {
    ifindex,
    address: parseIp(address),
    mac: parseMac("0a:00:00:00:00:01"),
    state: NUD_PERMANENT,
    protocol: 80,
  };
}

function names(world: RouteWorld): string[] {
  return world.kernel
    .links()
    .map(({ name }) => name)
    .filter((name) => name.startsWith("wl"));
}

function indexOf(world: RouteWorld, name: string): number {
  const link = world.kernel.links().find((each) => each.name === name);
  assert.ok(link !== undefined, `no ${name}`);
  return link.index;
}

function ours(world: RouteWorld): string[] {
  return [...allRoutes(world.kernel, 4), ...allRoutes(world.kernel, 6)]
    .filter(({ protocol }) => protocol === 80)
    .map(({ dst, protocol, priority, scope }) => {
      const link = scope === RT_SCOPE_LINK ? " link" : "";
      return `${formatCidr(dst)} ${protocol} ${priority}${link}`;
    })
    .sort();
}

function permanent(world: RouteWorld): string[] {
  return [...world.kernel.neighbours(4), ...world.kernel.neighbours(6)]
    .filter(({ state }) => state === NUD_PERMANENT)
    .map(({ address, mac, protocol }) => `${formatIp(address)} ${mac} ${protocol}`)
    .sort();
}
