/**
 * Damaged manifests and stored values: refused with places and reasons, or read; never a crash. What
 * is read is in normal form: its bytes, read again, give the same bytes.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decodeStored, encodeStored, formatManifestError, parseManifest } from "#resource";
import { MargayError } from "#std";
import { FUZZ_INPUTS, mutateJson, mutateText } from "../../support/fuzz.ts";
import { RandomSource } from "../../support/random-source.ts";

const GOLDEN = new URL("../../golden/calicoctl/", import.meta.url);
const DOCUMENTS = ["01-tiers-policies", "02-nodes-endpoints", "03-pools-bgp-config"]
  .flatMap((name) => readFileSync(new URL(`${name}.yaml`, GOLDEN), "utf8").split(/^---$/m))
  .filter((text) => text.includes("kind:"));
/** Reading a golden document takes a millisecond, so most inputs are small. */
const SMALL = [
  "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: a}, spec: {order: 5}}",
  "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: a}\nspec:\n  nets: [10.0.0.0/8]\n",
  "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: a}\nspec:\n  ingress:\n  - {action: Allow, protocol: TCP, destination: {ports: [80, '8:9', x]}}\n",
  "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: a\nspec: {cidr: 10.0.0.0/16}\n---\n",
];
const PIECES = [
  " ",
  "\n",
  "\n  ",
  "\t",
  ":",
  ": ",
  "- ",
  "---\n",
  "...",
  "{",
  "}",
  "[",
  "]",
  "&a ",
  "*a",
  "<<: ",
  "!!binary ",
  "!x ",
  "|",
  ">",
  "#",
  "'",
  '"',
  "null",
  "~",
  "true",
  "1e9",
  "0x1f",
  "-0",
  "? ",
  "%YAML",
  "\u0000",
  "\ud800",
  "é",
  "apiVersion",
  "spec",
  "10.0.0.0/8",
  "all()",
  "__proto__: ",
];

/** Reading YAML is slow, so the daily run has fewer. */
const YAML_INPUTS = FUZZ_INPUTS < 1_000_000 ? FUZZ_INPUTS / 5 : FUZZ_INPUTS;

test("damaged YAML is told or read, and the bytes of what is read are a fixed point", () => {
  const random = new RandomSource(405);
  let read = 0;
  for (let i = 0; i < YAML_INPUTS; i++) {
    const text = mutateText(random.pick(random.chance(0.02) ? DOCUMENTS : SMALL), PIECES, random);
    const { resources, errors } = parseManifest(text, "f.yaml");
    for (const error of errors) {
      assert.match(formatManifestError(error), /^f\.yaml:[1-9]\d*:[1-9]\d*: ./, text);
    }
    for (const { resource } of resources) {
      read++;
      const bytes = encodeStored(resource);
      assert.equal(encodeStored(decodeStored(bytes)), bytes, text);
    }
  }
  assert.ok(read > YAML_INPUTS / 50, `only ${read} of ${YAML_INPUTS} read`);
});

test("damaged stored values are refused as input, or read to a fixed point", () => {
  const values = Object.entries(
    JSON.parse(readFileSync(new URL("etcd.json", GOLDEN), "utf8")) as Record<string, string>,
  )
    .filter(([key]) => key.includes("/resources/v3/"))
    .map(([, text]): unknown => JSON.parse(text));
  assert.ok(values.length > 20);
  const random = new RandomSource(406);
  let read = 0;
  for (let i = 0; i < FUZZ_INPUTS; i++) {
    const value = mutateJson(random.pick(values), random);
    let text = JSON.stringify(value);
    if (random.chance(0.05)) text = text.slice(0, random.int(0, text.length));
    let bytes;
    try {
      bytes = encodeStored(decodeStored(text));
    } catch (error) {
      assert.ok(
        error instanceof MargayError && error.kind === "input",
        `${text}: ${String(error)}`,
      );
      continue;
    }
    read++;
    assert.equal(encodeStored(decodeStored(bytes)), bytes, text);
  }
  assert.ok(read > FUZZ_INPUTS / 50, `only ${read} of ${FUZZ_INPUTS} read`);
});
