import assert from "node:assert/strict";
import test from "node:test";
import * as fc from "fast-check";
import ipaddr from "ipaddr.js";
import { MargayError } from "#std";
import {
  canonicalCidr,
  cidrContains,
  cidrContainsIp,
  cidrHalves,
  cidrOf,
  cidrRange,
  cidrsOverlap,
  compareCidrs,
  formatCidr,
  formatIp,
  hostCidr,
  ipFromBytes,
  isHostCidr,
  parseCidr,
  parseCidrOrIp,
  parseCidrStrict,
  parseIp,
  parseIpInNetwork,
  tryParseCidr,
  tryParseCidrOrIp,
  type Cidr,
} from "#ip";

/** Text reads as IPv4 what is IPv4-mapped (RFC 4291 §2.5.5.2), so a block within is none of ours. */
const MAPPED = cidrOf(
  ipFromBytes(6, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0)),
  96,
);

/** Few distinct bits, so that blocks often contain each other. */
const cidr: fc.Arbitrary<Cidr> = fc
  .oneof(
    fc
      .tuple(fc.array(fc.constantFrom(0, 10, 128, 255), { minLength: 4, maxLength: 4 }), fc.nat(32))
      .map(([bytes, length]) => cidrOf(ipFromBytes(4, Uint8Array.from(bytes)), length)),
    fc
      .tuple(fc.array(fc.constantFrom(0, 255), { minLength: 16, maxLength: 16 }), fc.nat(128))
      .map(([bytes, length]) => cidrOf(ipFromBytes(6, Uint8Array.from(bytes)), length)),
  )
  .filter((block) => !cidrContains(MAPPED, block));

function numberOf(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
}

test("parsing masks, strict parsing refuses with the likely fix", () => {
  assert.equal(canonicalCidr("10.65.3.4/16"), "10.65.0.0/16");
  assert.equal(canonicalCidr("FD00:0::1/8"), "fd00::/8");
  assert.equal(formatCidr(parseCidrStrict("10.65.0.0/16")), "10.65.0.0/16");
  assert.throws(
    () => parseCidrStrict("10.65.3.4/16"),
    (error) => error instanceof MargayError && error.fields["fix"] === "10.65.0.0/16",
  );
  assert.equal(formatCidr(parseCidrOrIp("fd00::1")), "fd00::1/128");
  assert.equal(formatCidr(parseCidrOrIp("10.1.2.3")), "10.1.2.3/32");
  assert.equal(formatCidr(parseCidrOrIp("10.1.2.3/8")), "10.0.0.0/8");
  const { ip, cidr } = parseIpInNetwork("10.0.0.11/24");
  assert.deepEqual([formatIp(ip), formatCidr(cidr)], ["10.0.0.11", "10.0.0.0/24"]);
});

test("refused", () => {
  const faults = [
    "",
    "/",
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/08",
    "10.0.0.0/8 ",
    "10.0.0.0/8/8",
    "10.0.0/8",
    "fd00::/129",
    "fd00::/1000",
    "::ffff:10.0.0.0/104",
    "x/8",
  ];
  for (const text of faults) {
    assert.equal(tryParseCidr(text), undefined, text);
    assert.throws(() => parseCidr(text), MargayError);
    assert.throws(() => parseCidrStrict(text), MargayError);
  }
  assert.equal(tryParseCidrOrIp("x"), undefined);
  assert.throws(() => parseCidrOrIp("10.0.0"), MargayError);
});

test("text survives, containment equals ipaddr.js", () => {
  fc.assert(
    fc.property(cidr, cidr, (a, b) => {
      assert.deepEqual(parseCidrStrict(formatCidr(a)), a);
      const [addressA, lengthA] = ipaddr.parseCIDR(formatCidr(a));
      const [addressB, lengthB] = ipaddr.parseCIDR(formatCidr(b));
      const inA = a.family === b.family && (addressB as ipaddr.IPv4).match(addressA, lengthA);
      const inB = a.family === b.family && (addressA as ipaddr.IPv4).match(addressB, lengthB);
      assert.equal(cidrContainsIp(a, parseIp(addressB.toString())), inA);
      assert.equal(cidrContains(a, b), inA && lengthA <= lengthB);
      assert.equal(cidrsOverlap(a, b), inA || inB);
      assert.equal(compareCidrs(a, b) === 0, formatCidr(a) === formatCidr(b));
    }),
    { numRuns: 1000 },
  );
});

test("a range holds as many addresses as the block, halves split it", () => {
  fc.assert(
    fc.property(cidr, (block) => {
      const bits = block.family === 4 ? 32 : 128;
      const { first, end } = cidrRange(block);
      const size = (end ? numberOf(end) : 1n << BigInt(bits)) - numberOf(first);
      assert.equal(size, 1n << BigInt(bits - block.prefixLen));
      const halves = cidrHalves(block);
      assert.equal(halves === undefined, isHostCidr(block));
      if (!halves) return;
      const [low, high] = halves.map(cidrRange);
      assert.deepEqual(low?.first, first);
      assert.deepEqual(low?.end, high?.first);
      assert.deepEqual(high?.end, end);
    }),
  );
  assert.equal(cidrRange(parseCidr("0.0.0.0/0")).end, undefined);
  assert.deepEqual(cidrRange(parseCidr("10.255.0.0/16")), {
    first: Uint8Array.of(10, 255, 0, 0),
    end: Uint8Array.of(11, 0, 0, 0),
  });
  assert.ok(isHostCidr(hostCidr(parseIp("::1"))));
});
