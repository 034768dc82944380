import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import * as fc from "fast-check";
import {
  base64Url,
  hex,
  lengthLimitedId,
  makeUniqueId,
  MargayError,
  sha1,
  sha224,
  sha256,
  utf8Bytes,
} from "#std";

test("unique ids equal those of real clusters", () => {
  assert.equal(makeUniqueId("s", "all()"), "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug");
});

test("length-limited ids equal Felix's", () => {
  assert.equal(lengthLimitedId("felix", "_2345", 10), "felix_kMQI");
  assert.equal(lengthLimitedId("felix", "12345678910", 13), "felix_Y2QCZIS");
  assert.equal(lengthLimitedId("felix", "", 10), "felix_");
  assert.equal(lengthLimitedId("felix", "12345", 10), "felix12345");
  assert.equal(lengthLimitedId("cali-tw-", "cali1234567890a", 28), "cali-tw-cali1234567890a");
  assert.throws(() => lengthLimitedId("felix", "x", 6), MargayError);
});

test("names built from SHA-1 equal Calico's", () => {
  assert.equal(`cali${hex(sha1("default.podA")).slice(0, 11)}`, "cali7f94ce7c295");
  assert.equal(`cali${hex(sha1("default.podB")).slice(0, 11)}`, "cali92cf1f5e9f6");
  assert.equal(hex(sha1("remotehostname").subarray(0, 5)), "3ecaa4db65");
});

test("digests and encodings equal node:crypto and Buffer", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const reference = (name: string): string => createHash(name).update(bytes).digest("hex");
      assert.equal(hex(sha1(bytes)), reference("sha1"));
      assert.equal(hex(sha224(bytes)), reference("sha224"));
      assert.equal(hex(sha256(bytes)), reference("sha256"));
      assert.equal(base64Url(bytes), Buffer.from(bytes).toString("base64url"));
    }),
  );
});

test("strings are hashed as UTF-8", () => {
  assert.deepEqual(sha256("ä€𝄞"), sha256(utf8Bytes("ä€𝄞")));
  assert.equal(hex(sha256("ä€𝄞")), createHash("sha256").update("ä€𝄞").digest("hex"));
});
