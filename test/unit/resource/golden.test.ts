/** The bytes that Calico's own tool stored for the same YAML. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decodeStored, encodeStored, parseResourcePath, resourcePath } from "#resource";

/** The recording has placeholders where a run's own identity and time stood. */
const stored = Object.fromEntries(
  Object.entries(
    JSON.parse(readFileSync("test/golden/calicoctl/etcd.json", "utf8")) as Record<string, string>,
  ).map(([path, text]) => [
    path,
    text
      .replaceAll("<uid>", "30316465-6365-4463-ad63-3564622d3638")
      .replaceAll("<time>", "2026-11-23T02:20:00Z")
      .replaceAll("<guid>", "80e297d148a942ac93f63f1a82677d1b"),
  ]),
);

test("every stored value decodes and encodes to the same bytes", () => {
  assert.ok(Object.keys(stored).length > 30);
  for (const [path, text] of Object.entries(stored)) {
    assert.equal(encodeStored(decodeStored(text)), text, path);
  }
});

test("paths and resources name each other", () => {
  for (const [path, text] of Object.entries(stored)) {
    const { kind, metadata } = decodeStored(text);
    assert.equal(resourcePath(kind, metadata.name, metadata.namespace), path);
    const id = parseResourcePath(path);
    assert.deepEqual(id, {
      kind,
      name: metadata.name,
      ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
    });
  }
});
