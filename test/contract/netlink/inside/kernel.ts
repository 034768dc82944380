/** The suite on the kernel, each test in an empty namespace's place: interfaces are removed after it. */
import { setTimeout as delay } from "node:timers/promises";
import { formatCidr, formatIp } from "#ip";
import { openRouteKernel, type Route } from "#netlink";
import { run } from "../../../support/workload-host.ts";
import { routeKernelSuite, type RouteWorld } from "../route-kernel-suite.ts";

const links = (): string[] =>
  run("ip", "-o", "link", "show")
    .split("\n")
    .flatMap((line) => /^\d+: (wl\d)@/.exec(line)?.slice(1) ?? []);

function makeWorld(): RouteWorld {
  return {
    kernel: openRouteKernel(),
    async setLink(name, up) {
      if (!links().includes(name)) {
        run("ip", "link", "add", name, "type", "veth", "peer", "name", `peer-${name}`);
      }
      run("ip", "link", "set", name, up ? "up" : "down");
    },
    async rename(from, to) {
      run("ip", "link", "set", from, "name", to);
    },
    async removeLink(name) {
      run("ip", "link", "del", name);
    },
    async foreignRoute(verb, route: Route) {
      const device = run("ip", "-o", "link", "show").match(
        new RegExp(`^${route.oif}: ([^@:]+)`, "m"),
      )?.[1];
      const { dst, priority, protocol } = route;
      const what = [formatCidr(dst), "dev", device ?? "", "metric", `${priority}`];
      run("ip", "route", verb, ...what, "proto", `${protocol}`, "scope", "link");
    },
    async foreignForwarding(verb, { mac, host, ifindex }) {
      const device = run("ip", "-o", "link", "show").match(
        new RegExp(`^${ifindex}: ([^@:]+)`, "m"),
      )?.[1];
      const to = verb === "del" || host === undefined ? [] : ["dst", formatIp(host), "permanent"];
      run("bridge", "fdb", verb, mac, "dev", device ?? "", ...to, "self");
    },
    settle: () => delay(50),
  };
}

const outcomes: Record<string, string> = {};
for (const [name, test] of Object.entries(routeKernelSuite)) {
  const world = makeWorld();
  try {
    await test(world);
    outcomes[name] = "";
  } catch (error) {
    outcomes[name] = error instanceof Error ? `${error.stack}` : String(error);
  }
  world.kernel.close();
  for (const link of links()) run("ip", "link", "del", link);
}
process.stdout.write(JSON.stringify(outcomes), () => process.exit(0));
