import assert from "node:assert/strict";
import { isIP } from "node:net";
import test from "node:test";
import * as fc from "fast-check";
import ipaddr from "ipaddr.js";
import { MargayError } from "#std";
import {
  addToIp,
  canonicalIp,
  compareIps,
  formatIp,
  ipBytes,
  ipFromBytes,
  macBytes,
  macFromBytes,
  parseIp,
  parseMac,
  tryParseIp,
  tryParseMac,
} from "#ip";

const CANONICAL: readonly (readonly [text: string, canonical: string])[] = [
  ["0.0.0.0", "0.0.0.0"],
  ["255.255.255.255", "255.255.255.255"],
  ["10.65.0.17", "10.65.0.17"],
  ["::", "::"],
  ["::1", "::1"],
  ["1::", "1::"],
  ["2001:DB8::0A", "2001:db8::a"],
  ["2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"],
  // RFC 5952 §4.2.2: one group of zeros is not shortened; §4.2.3: the longest, then the first run.
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
  ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["fe80::ecee:eeff:feee:eeee", "fe80::ecee:eeff:feee:eeee"],
  ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
  ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
  ["::1.2.3.4", "::102:304"],
  ["::ffff:10.0.0.1", "10.0.0.1"],
  ["::FFFF:a00:1", "10.0.0.1"],
  ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
];

const REFUSED = [
  "",
  " 10.0.0.1",
  "10.0.0.1 ",
  "10.0.0",
  "10.0.0.0.0",
  "10.0.0.",
  ".10.0.0.1",
  "10..0.1",
  "10.0.0.256",
  "10.0.0.01",
  "010.0.0.1",
  "10.0.0.1/32",
  "0x0a.0.0.1",
  "10",
  ":",
  ":::",
  "1:",
  ":1",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "1:2:3:4:5:6:7:8::",
  "1::2::3",
  "12345::",
  "g::",
  "fe80::1%eth0",
  "::1.2.3",
  "::1.2.3.4.5",
  "::1.2.3.4:5",
  "1:2:3:4:5:6:7:1.2.3.4",
  "1.2.3.4:5",
  "[::1]",
  "localhost",
];

const ipv4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
const ipv6Bytes = fc
  .array(fc.constantFrom(0, 0, 0, 1, 0x10, 0xff, 0xfd), { minLength: 16, maxLength: 16 })
  .map((bytes) => Uint8Array.from(bytes));

test("text", () => {
  for (const [text, canonical] of CANONICAL) {
    assert.equal(canonicalIp(text), canonical, text);
    assert.equal(canonicalIp(canonical), canonical);
  }
  for (const text of REFUSED) {
    assert.equal(tryParseIp(text), undefined, text);
    assert.throws(
      () => parseIp(text),
      (error) => error instanceof MargayError && error.code === "bad-ip",
    );
  }
});

test("bytes and text equal ipaddr.js", () => {
  fc.assert(
    fc.property(fc.oneof(ipv4Bytes, ipv6Bytes), (bytes) => {
      const reference = ipaddr.fromByteArray([...bytes]);
      const ip = ipFromBytes(bytes.length === 4 ? 4 : 6, bytes);
      assert.deepEqual(ipBytes(ip), bytes);
      assert.equal(
        formatIp(ip),
        reference instanceof ipaddr.IPv6 ? reference.toRFC5952String() : reference.toString(),
      );
      const verbose = reference.toNormalizedString();
      if (!(reference instanceof ipaddr.IPv6 && reference.isIPv4MappedAddress())) {
        assert.deepEqual(parseIp(verbose), ip);
        assert.deepEqual(parseIp(formatIp(ip)), ip);
      }
    }),
    { numRuns: 1000 },
  );
});

test("what is accepted equals inet_pton", () => {
  const part = fc.constantFrom(":", "::", ".", "0", "1", "a", "255", "ffff", "1.2.3.4", "01");
  fc.assert(
    fc.property(fc.string({ unit: part, maxLength: 15 }), (text) => {
      assert.equal(tryParseIp(text) !== undefined, isIP(text) !== 0, text);
    }),
    { numRuns: 5000 },
  );
});

test("order is that of the numbers", () => {
  fc.assert(
    fc.property(fc.oneof(ipv4Bytes, ipv6Bytes), fc.oneof(ipv4Bytes, ipv6Bytes), (a, b) => {
      const expected = a.length - b.length || Buffer.compare(a, b);
      const actual = compareIps(
        ipFromBytes(a.length === 4 ? 4 : 6, a),
        ipFromBytes(b.length === 4 ? 4 : 6, b),
      );
      assert.equal(Math.sign(actual), Math.sign(expected));
    }),
  );
});

test("addToIp carries and stops at the end", () => {
  const sum = (text: string, count: number): string | undefined => {
    const ip = addToIp(parseIp(text), count);
    return ip && formatIp(ip);
  };
  assert.equal(sum("10.0.0.255", 1), "10.0.1.0");
  assert.equal(sum("10.0.0.1", 0), "10.0.0.1");
  assert.equal(sum("255.255.255.255", 1), undefined);
  assert.equal(sum("0.0.0.0", 2 ** 32), undefined);
  assert.equal(sum("fd00::ffff:ffff", 1), "fd00::1:0:0");
  assert.equal(sum("fd00::", 2 ** 52), "fd00::10:0:0:0");
  assert.equal(sum("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1), undefined);
});

test("MAC addresses", () => {
  assert.equal(parseMac("EE-EE-EE-ee-ee-0F"), "ee:ee:ee:ee:ee:0f");
  assert.deepEqual(macBytes(parseMac("0a:00:00:00:ff:01")), Uint8Array.of(10, 0, 0, 0, 255, 1));
  assert.equal(macFromBytes(Uint8Array.of(10, 0, 0, 0, 255, 1)), "0a:00:00:00:ff:01");
  for (const text of [
    "",
    "0a:00:00:00:00",
    "0a:00:00:00:00:0g",
    "0a:00-00:00:00:00",
    "0a0000000000",
  ]) {
    assert.equal(tryParseMac(text), undefined, text);
    assert.throws(() => parseMac(text), MargayError);
  }
  assert.throws(() => macFromBytes(new Uint8Array(5)), MargayError);
  assert.throws(() => ipFromBytes(6, new Uint8Array(8)), MargayError);
});
