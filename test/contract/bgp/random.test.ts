/** Whatever objects a store may hold, valid or not: BIRD parses the text, and it says nothing foreign. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  bgpConfiguration,
  bgpFilter,
  bgpPeer,
  modelOf,
  node,
  pool,
  rendered,
  type Given,
} from "../../support/bgp.ts";

const RUNS = process.env["MARGAY_TEST_LONG"] === undefined ? 60 : 600;
const MARK = "evil";
/** Texts that would end a string, comment, symbol or statement of BIRD. */
const text = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.constantFrom(
    "eth*",
    "cali1",
    `"; ${MARK}`,
    `'\n${MARK} {`,
    `*/ ${MARK}`,
    `} # ${MARK}`,
    "a\\",
  ),
);
const cidr = fc.constantFrom("10.0.0.0/8", "10.65.0.0/26", "0.0.0.0/0", "192.0.2.1/32");
/** One fault makes a whole filter reject everything, so most values have none. */
const mostly = <T, U>(usual: fc.Arbitrary<T>, rare: fc.Arbitrary<U>) =>
  fc.oneof({ weight: 40, arbitrary: usual }, { weight: 1, arbitrary: rare });
const number = mostly(
  fc.constantFrom(1, 512, 1024, 64_512),
  fc.oneof(fc.integer(), fc.constantFrom(0, 4_294_967_295, 2 ** 40, 1.5)),
);
const community = mostly(fc.constantFrom("1:2", "1:2:3"), fc.oneof(text, fc.constant("99999:1")));
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const rule = fc.record({
  cidr: optional(cidr),
  matchOperator: optional(fc.constantFrom("Equal", "NotEqual", "In", "NotIn")),
  prefixLength: optional(
    fc.record({
      min: optional(fc.integer({ min: 0, max: 32 })),
      max: optional(fc.integer({ min: 0, max: 32 })),
    }),
  ),
  source: optional(fc.constant("RemotePeers")),
  interface: optional(text),
  peerType: optional(fc.constantFrom("eBGP", "iBGP")),
  communities: optional(fc.record({ values: fc.tuple(community) })),
  asPathPrefix: optional(fc.array(number, { maxLength: 3 })),
  priority: optional(number),
  action: fc.constantFrom("Accept", "Reject"),
  operations: optional(
    fc.array(
      fc.oneof(
        fc.record({ addCommunity: fc.record({ value: community }) }),
        fc.record({ prependASPath: fc.record({ prefix: fc.array(number, { maxLength: 3 }) }) }),
        fc.record({ setPriority: fc.record({ value: number }) }),
      ),
      { maxLength: 3 },
    ),
  ),
});
const unchecked = (given: Given): Given => ({ ...given, unchecked: true });

test("BIRD parses what becomes of any filter, name, pattern, community and password", () => {
  fc.assert(
    fc.property(
      fc.record({
        rules: fc.array(rule, { maxLength: 4 }),
        name: text,
        pattern: text,
        community,
        clusterId: text,
        prefix: text,
        password: text,
      }),
      (random) => {
        const { rules, name, pattern, clusterId, prefix, password } = random;
        const model = modelOf(
          [
            unchecked(node(1, { routeReflectorClusterID: clusterId })),
            node(2),
            pool("p", { cidr: "10.65.0.0/16" }),
            unchecked(
              bgpConfiguration({
                ignoredInterfaces: [pattern],
                logSeverityScreen: name,
                communities: [{ name: "c", value: random.community }],
                prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["c", name] }],
                serviceLoadBalancerAggregation: "Enabled",
              }),
            ),
            unchecked(bgpFilter(name, { exportV4: rules, importV4: rules })),
            unchecked(
              bgpPeer(name, {
                peerIP: "192.0.2.1",
                asNumber: 1,
                filters: [name],
                password: { secretKeyRef: { name: "s", key: "k" } },
              }),
            ),
          ],
          {
            workloadPrefixes: [prefix, "cali"],
            secrets: () => password.replaceAll(MARK, "x"),
            routerId: name,
          },
        );
        const texts = rendered(model);
        const outside = `${texts[4]}${texts[6]}`.replaceAll(/'bgp_[^']*'/g, "");
        assert.doesNotMatch(outside, new RegExp(MARK));
      },
    ),
    { numRuns: RUNS },
  );
});
