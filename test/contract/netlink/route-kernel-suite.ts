/** What every `RouteKernel` does, the kernel's and the one in memory. */
import assert from "node:assert/strict";
import { formatCidr, formatIp, parseCidr, parseIp, parseMac } from "#ip";
import {
  NUD_PERMANENT,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_UNICAST,
  type ForwardingEntry,
  type Link,
  type Neighbour,
  type Route,
  type RouteEvent,
  type RouteKernel,
  type VxlanSettings,
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
  /** Somebody changes a forwarding entry. */
  foreignForwarding(verb: "replace" | "del", entry: ForwardingEntry): Promise<void>;
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

  async "a VXLAN device is made, read back, changed and deleted"(world) {
    await world.setLink("wl0", true);
    const parent = indexOf(world, "wl0");
    const settings = { ...vxlan("10.0.0.1"), parent };
    const mac = parseMac("66:00:00:00:00:09");
    const link = { name: "wl8", kind: "vxlan", mtu: 1400, mac, vxlan: settings } as const;
    assert.equal(world.kernel.write([{ kind: "createLink", link }]).size, 0);
    assert.equal(world.kernel.write([{ kind: "createLink", link }]).get(0)?.errno, "EEXIST");
    const made = linkOf(world, "wl8");
    assert.deepEqual(
      { ...made, index: 0, vxlan: undefined },
      {
        index: 0,
        name: "wl8",
        adminUp: false,
        operUp: false,
        mtu: 1400,
        mac: "66:00:00:00:00:09",
        kind: "vxlan",
        vxlan: undefined,
      },
    );
    assert.deepEqual(shown(made.vxlan), shown(settings));
    const change = { mtu: 1300, mac: parseMac("66:00:00:00:00:08"), up: true } as const;
    world.kernel.write([{ kind: "setLink", index: made.index, ...change }]);
    const { adminUp, mtu, mac: changed } = linkOf(world, "wl8");
    assert.deepEqual([adminUp, mtu, changed], [true, 1300, "66:00:00:00:00:08"]);
    world.kernel.write([{ kind: "deleteLink", index: made.index }]);
    assert.deepEqual(names(world), ["wl0"]);
    assert.equal(
      world.kernel.write([{ kind: "deleteLink", index: made.index }]).get(0)?.errno,
      "ENODEV",
    );
  },

  async "one over IPv6 too"(world) {
    const settings = vxlan("fd00::1");
    const link = { name: "wl8", kind: "vxlan", mtu: 1400, vxlan: settings } as const;
    assert.equal(world.kernel.write([{ kind: "createLink", link }]).size, 0);
    const { index, vxlan: read } = linkOf(world, "wl8");
    assert.deepEqual(shown(read), shown(settings));
    world.kernel.write([{ kind: "deleteLink", index }]);
  },

  async "addresses are given, read back and taken"(world) {
    await world.setLink("wl0", true);
    const ifindex = indexOf(world, "wl0");
    const given = ["10.65.0.1", "fd65::1"].map((text) => ({
      ifindex,
      address: parseIp(text),
      prefixLen: text.includes(":") ? 128 : 32,
    }));
    const here = (): string[] =>
      world.kernel
        .addresses()
        .filter((each) => each.ifindex === ifindex)
        .map(({ address, prefixLen }) => `${formatIp(address)}/${prefixLen}`)
        .filter((text) => !text.startsWith("fe80"))
        .sort();
    const add = given.map((address) => ({ kind: "addAddress", address }) as const);
    assert.equal(world.kernel.write([...add, ...add]).size, 0);
    assert.deepEqual(here(), ["10.65.0.1/32", "fd65::1/128"]);
    const remove = given.map((address) => ({ kind: "deleteAddress", address }) as const);
    assert.equal(world.kernel.write(remove).size, 0);
    assert.deepEqual(here(), []);
    assert.equal(world.kernel.write(remove).get(0)?.errno, "EADDRNOTAVAIL");
  },

  async "forwarding entries are written, replaced, read back and deleted"(world) {
    const { index: ifindex } = makeVxlan(world);
    const first = { ...entry("66:00:00:00:00:01", "10.0.0.2"), ifindex };
    const moved = { ...first, host: parseIp("10.0.0.3") };
    assert.equal(world.kernel.write([{ kind: "replaceForwarding", entry: first }]).size, 0);
    assert.equal(world.kernel.write([{ kind: "replaceForwarding", entry: moved }]).size, 0);
    assert.deepEqual(forwarding(world, ifindex), ["66:00:00:00:00:01 10.0.0.3 128"]);
    assert.equal(world.kernel.write([{ kind: "deleteForwarding", entry: moved }]).size, 0);
    assert.deepEqual(forwarding(world, ifindex), []);
    const again = world.kernel.write([{ kind: "deleteForwarding", entry: moved }]);
    assert.equal(again.get(0)?.errno, "ENOENT");
    world.kernel.write([{ kind: "deleteLink", index: ifindex }]);
    const late = world.kernel.write([{ kind: "replaceForwarding", entry: first }]);
    assert.equal(late.get(0)?.errno, "ENODEV");
    assert.deepEqual(forwarding(world, ifindex), []);
  },

  async "what others do to forwarding entries is told"(world) {
    const { index: ifindex } = makeVxlan(world);
    const events = record(world.kernel);
    const other = { ...entry("66:00:00:00:00:02", "10.0.0.4"), ifindex };
    await world.foreignForwarding("replace", other);
    await world.foreignForwarding("del", other);
    await world.settle();
    const told = events.flatMap((event) =>
      event.kind === "forwarding" && event.entry.mac === other.mac ? event.present : [],
    );
    assert.deepEqual(told, [true, false]);
    world.kernel.write([{ kind: "deleteLink", index: ifindex }]);
  },

  async "routes keep their gateway on the link, their MTU, and discard"(world) {
    await world.setLink("wl0", true);
    const oif = indexOf(world, "wl0");
    for (const [dst, gateway] of [
      ["10.66.0.0/26", "10.66.0.9"],
      ["fd66::/122", "fd66::9"],
    ] as const) {
      const via = {
        ...route(dst, oif),
        scope: RT_SCOPE_UNIVERSE,
        gateway: parseIp(gateway),
        onlink: true,
        mtu: 1300,
      };
      assert.equal(world.kernel.write([{ kind: "replaceRoute", route: via }]).size, 0);
      const read = allRoutes(world.kernel, via.dst.family).find(({ protocol }) => protocol === 80);
      assert.deepEqual([read?.onlink, read?.mtu, read?.oif], [true, 1300, oif]);
      assert.equal(read?.gateway && formatIp(read.gateway), gateway);
      const { dst: net, table, protocol, scope, tos, priority } = via;
      const nowhere = { dst: net, table, protocol, scope, tos, priority, type: RTN_BLACKHOLE };
      const discard: Route = net.family === 4 ? nowhere : { ...nowhere, oif: 1 };
      assert.equal(world.kernel.write([{ kind: "replaceRoute", route: discard }]).size, 0);
      const gone = world.kernel.write([{ kind: "deleteRoute", route: via }]);
      assert.equal(gone.get(0)?.errno, "ESRCH", "the discarding one took its place");
      const [left] = allRoutes(world.kernel, net.family).filter((each) => each.protocol === 80);
      assert.deepEqual([left?.type, left?.oif], [RTN_BLACKHOLE, discard.oif]);
      assert.equal(world.kernel.write([{ kind: "replaceRoute", route: via }]).size, 0);
      const replaced = world.kernel.write([{ kind: "deleteRoute", route: discard }]);
      assert.equal(replaced.get(0)?.errno, "ESRCH", "and the other way round");
      assert.equal(world.kernel.write([{ kind: "replaceRoute", route: discard }]).size, 0);
      assert.equal(world.kernel.write([{ kind: "deleteRoute", route: discard }]).size, 0);
    }
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

function vxlan(local: string): VxlanSettings {
  return { vni: 4096, port: 4789, local: parseIp(local), learning: false, checksum: false };
}

function shown(settings: VxlanSettings | undefined): object {
  assert.ok(settings !== undefined);
  const { local, ...rest } = settings;
  return { ...rest, local: local && formatIp(local) };
}

function makeVxlan(world: RouteWorld): Link {
  const link = { name: "wl8", kind: "vxlan", mtu: 1400, vxlan: vxlan("10.0.0.1") } as const;
  assert.equal(world.kernel.write([{ kind: "createLink", link }]).size, 0);
  return linkOf(world, "wl8");
}

function entry(mac: string, host: string): Omit<ForwardingEntry, "ifindex"> {
  return { mac: parseMac(mac), host: parseIp(host), state: NUD_PERMANENT };
}

function forwarding(world: RouteWorld, ifindex: number): string[] {
  return world.kernel
    .forwarding(ifindex)
    .map(({ mac, host, state }) => `${mac} ${host && formatIp(host)} ${state}`);
}

function linkOf(world: RouteWorld, name: string): Link {
  const link = world.kernel.links().find((each) => each.name === name);
  assert.ok(link !== undefined, `no ${name}`);
  return link;
}

function names(world: RouteWorld): string[] {
  return world.kernel
    .links()
    .map(({ name }) => name)
    .filter((name) => name.startsWith("wl"));
}

function indexOf(world: RouteWorld, name: string): number {
  return linkOf(world, name).index;
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
