/** Random operations beside a model of who has what: never an address twice, all of them come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatIp, parseIp } from "#ip";
import { audit, readSnapshot } from "#ipam";
import { IpamWorld } from "../../support/ipam-world.ts";

type Step =
  | {
      readonly kind: "assign";
      readonly host: string;
      readonly count: number;
      readonly handle: string;
    }
  | { readonly kind: "handle"; readonly handle: string }
  | { readonly kind: "release"; readonly pick: number }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "remove"; readonly host: string };

const hosts = fc.constantFrom("a", "b", "c");
const handles = fc.constantFrom("h1", "h2", "h3", "h4");
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("assign" as const),
      host: hosts,
      count: fc.integer({ min: 1, max: 5 }),
      handle: handles,
    }),
    fc.record({ kind: fc.constant("handle" as const), handle: handles }),
    fc.record({ kind: fc.constant("release" as const), pick: fc.nat() }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 90_000 }) }),
    fc.record({ kind: fc.constant("remove" as const), host: hosts }),
  ),
  { maxLength: 40 },
);

const CAPACITY = 32;

test("a model of who has what agrees after every step", async () => {
  const settings = fc.record({
    cooldownSeconds: fc.constantFrom(0, 0, 20),
    strictAffinity: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(steps, settings, async (list, config) => {
      const world = new IpamWorld();
      await world.pool("p4", "10.0.0.0/28", { blockSize: 30 });
      await world.pool("p6", "10.1.0.0/28", { blockSize: 29 });
      for (const host of ["a", "b", "c"]) await world.node(host);
      const ipam = world.ipam();
      await ipam.configure(config);
      const model = new Map<string, { handle: string; host: string }>();
      const coolUntil = new Map<string, number>();
      const gone = (ip: string) => {
        model.delete(ip);
        coolUntil.set(ip, world.nowMs + config.cooldownSeconds * 1000);
      };
      for (const step of list) {
        switch (step.kind) {
          case "assign": {
            const { host, handle, count } = step;
            const { ipv4 } = await ipam.autoAssign({ host, handle, ipv4: count });
            for (const { ip } of ipv4.assigned) {
              const text = formatIp(ip);
              assert.ok(!model.has(text), `${text} given twice`);
              assert.ok((coolUntil.get(text) ?? 0) <= world.nowMs, `${text} has not cooled`);
              model.set(text, { handle, host });
            }
            if (!config.strictAffinity && config.cooldownSeconds === 0) {
              assert.ok(ipv4.assigned.length === count || model.size === CAPACITY);
            }
            break;
          }
          case "handle": {
            const held = [...model].filter(([, { handle }]) => handle === step.handle);
            const released = (await ipam.releaseByHandle(step.handle)).map(formatIp);
            assert.deepEqual(released.toSorted(), held.map(([ip]) => ip).toSorted());
            for (const ip of released) gone(ip);
            break;
          }
          case "release": {
            const [ip, held] = [...model][step.pick % Math.max(1, model.size)] ?? [];
            if (ip === undefined || held === undefined) break;
            const outcomes = await ipam.release([{ ip: parseIp(ip), handle: held.handle }]);
            assert.equal(outcomes.get(ip), "released");
            gone(ip);
            break;
          }
          case "wait":
            world.nowMs += step.ms;
            break;
          case "remove": {
            const held = [...model].filter(([, { host }]) => host === step.host);
            const { released } = await ipam.removeHost(step.host);
            assert.equal(released.length, held.length);
            for (const [ip] of held) gone(ip);
            break;
          }
        }
        const { allocations, problems } = audit(await readSnapshot(world.store));
        const taken = allocations.filter(({ cooling }) => !cooling).map(({ ip }) => formatIp(ip));
        assert.deepEqual(taken.toSorted(), [...model.keys()].toSorted());
        // No endpoint exists here, so that every allocation is a leak, and nothing else is wrong.
        assert.deepEqual(
          problems.filter(({ kind }) => kind !== "leaked"),
          [],
        );
      }
    }),
    { numRuns: process.env["MARGAY_TEST_LONG"] === "1" ? 500 : 60, endOnFailure: false },
  );
});
