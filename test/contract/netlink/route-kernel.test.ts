import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FakeRouteKernel } from "#netlink";
import { runInSandbox } from "../../support/sandbox.ts";
import { routeKernelSuite, type RouteWorld } from "./route-kernel-suite.ts";

test("in memory", async (t) => {
  for (const [name, body] of Object.entries(routeKernelSuite)) {
    await t.test(name, () => body(makeWorld(new FakeRouteKernel())));
  }
});

test("in the kernel", async (t) => {
  const script = fileURLToPath(new URL("inside/kernel.ts", import.meta.url));
  const outcomes = await runInSandbox<Record<string, string>>(script, {}, 60_000);
  assert.deepEqual(Object.keys(outcomes), Object.keys(routeKernelSuite));
  for (const [name, outcome] of Object.entries(outcomes)) {
    await t.test(name, () => assert.equal(outcome, ""));
  }
});

function makeWorld(kernel: FakeRouteKernel): RouteWorld {
  return {
    kernel,
    async setLink(name, up) {
      kernel.setLink(name, { up });
    },
    async rename(from, to) {
      const link = kernel.links().find((each) => each.name === from);
      assert.ok(link !== undefined);
      kernel.setLink(to, { up: link.adminUp, index: link.index });
    },
    async removeLink(name) {
      kernel.removeLink(name);
    },
    async foreignRoute(verb, route) {
      kernel.foreignWrite({ kind: verb === "replace" ? "replaceRoute" : "deleteRoute", route });
    },
    async foreignForwarding(verb, entry) {
      kernel.foreignWrite({
        kind: verb === "replace" ? "replaceForwarding" : "deleteForwarding",
        entry,
      });
    },
    settle: async () => {},
  };
}
