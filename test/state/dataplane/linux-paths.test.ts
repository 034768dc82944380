/**
 * What is in the kernel depends on the last state of endpoints and interfaces, not on the way there:
 * after any history a dataplane that starts anew finds nothing to write.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { ToDataplane } from "#calc";
import { DataplaneWorld } from "../../support/dataplane-world.ts";
import { allRoutes } from "../../support/routes.ts";
import { endpointRemove, endpointUpdate, IN_SYNC, pod } from "../../support/workload-host.ts";

const PODS = [1, 2, 3];

type Step =
  | {
      readonly op: "set";
      readonly pod: number;
      readonly on: number;
      readonly address: number;
      readonly state: string;
    }
  | { readonly op: "remove"; readonly pod: number }
  | { readonly op: "link"; readonly pod: number; readonly up: boolean }
  | { readonly op: "unplug"; readonly pod: number }
  | { readonly op: "rename"; readonly pod: number }
  | { readonly op: "steal"; readonly pod: number }
  | { readonly op: "blink"; readonly pod: number }
  | { readonly op: "refuse" }
  | { readonly op: "policyFails" }
  | { readonly op: "lose" }
  | { readonly op: "apply" };

const one = fc.constantFrom(...PODS);
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant("set" as const),
        pod: one,
        on: one,
        address: one,
        state: fc.constantFrom("active", "active", "active", "inactive"),
      }),
    },
    fc.record({ op: fc.constant("remove" as const), pod: one }),
    {
      weight: 4,
      arbitrary: fc.record({ op: fc.constant("link" as const), pod: one, up: fc.boolean() }),
    },
    fc.record({ op: fc.constantFrom("unplug", "rename", "steal", "blink"), pod: one }),
    fc.record({ op: fc.constantFrom("refuse", "policyFails", "lose") }),
    { weight: 3, arbitrary: fc.record({ op: fc.constant("apply" as const) }) },
  ),
  { maxLength: 40, size: "max" },
) as fc.Arbitrary<Step[]>;

test("the kernel's state does not depend on the path", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const world = new DataplaneWorld();
      const endpoints = new Map<number, ToDataplane>();
      try {
        await world.send(IN_SYNC);
        for (const step of history) await take(world, endpoints, step);
        world.tableError = undefined;
        // A refused write is tried again.
        await world.dataplane.apply();
        const last = await world.dataplane.apply();
        assert.deepEqual(last.errors, []);
        const { routes, state } = world;

        const fresh = new DataplaneWorld({}, world);
        const { writes } = await fresh.send(...endpoints.values(), IN_SYNC);
        assert.deepEqual(fresh.routes, routes);
        assert.equal(writes, 0);
        assert.deepEqual(fresh.state, state);
        await fresh.dataplane.close();
      } finally {
        await world.close();
      }
    }),
    { numRuns: 300 },
  );
});

async function take(
  world: DataplaneWorld,
  endpoints: Map<number, ToDataplane>,
  step: Step,
): Promise<void> {
  switch (step.op) {
    case "set": {
      const { interfaceName } = pod(step.on);
      const { ipv4, ipv6 } = pod(step.address);
      const message = endpointUpdate(pod(step.pod), {
        name: interfaceName,
        ipv4Nets: [`${ipv4}/32`],
        ipv6Nets: [`${ipv6}/128`],
        state: step.state,
      });
      endpoints.set(step.pod, message);
      return world.dataplane.onMessage(message);
    }
    case "remove":
      endpoints.delete(step.pod);
      return world.dataplane.onMessage(endpointRemove(pod(step.pod)));
    case "link":
      world.plug(pod(step.pod).interfaceName, step.up);
      return;
    case "unplug":
      return world.kernel.removeLink(pod(step.pod).interfaceName);
    case "rename":
      return rename(world, pod(step.pod).interfaceName);
    case "steal":
      return steal(world, pod(step.pod).ipv4);
    case "blink":
      for (const up of [false, true]) world.plug(pod(step.pod).interfaceName, up);
      return;
    case "refuse":
      return world.kernel.failNext("ENOMEM");
    case "policyFails":
      world.tableError = new Error("refused");
      return;
    case "lose":
      return world.kernel.loseEvents();
    case "apply":
      await world.dataplane.apply();
      world.tableError = undefined;
  }
}

/** To a name that is no workload's, or back. */
function rename(world: DataplaneWorld, name: string): void {
  const other = `was-${name}`;
  const links = world.kernel.links();
  const found =
    links.find((link) => link.name === name) ?? links.find((link) => link.name === other);
  if (found === undefined || links.filter((link) => link.name.endsWith(name)).length > 1) return;
  const target = found.name === name ? other : name;
  world.kernel.setLink(target, { up: found.adminUp, index: found.index });
}

function steal(world: DataplaneWorld, address: string): void {
  const route = allRoutes(world.kernel, 4).find(({ dst, oif }) => {
    return oif !== 1 && dst.prefixLen === 32 && `${dst.w0 & 255}` === address.split(".")[3];
  });
  if (route !== undefined) world.kernel.foreignWrite({ kind: "deleteRoute", route });
}
