/**
 * The recorded session of Calico's tool, replayed: the same YAML, the same commands, the same
 * tables and exit codes. Where ours differs, the difference is written down here.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ctl, goldenText, GUID, TIME } from "./harness.ts";

interface Step {
  readonly command: string;
  readonly output: string;
  readonly code: number;
}

const NP2 = `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: tmp}
spec: {nets: [192.0.2.0/24]}
`;

/** Other commands, or output that cannot be kept: each with its reason. */
const NOT_REPLAYED: Readonly<Record<string, string>> = {
  "get bgpfilter": "the recorded program crashes",
  "ipam show": "address management",
  "ipam configure show": "address management",
};

/** Ours is clearer: what the recorded text becomes. */
function improved(text: string): string {
  return text
    .replaceAll(" with error: <nil>", "")
    .replace("80e297d148a942ac93f63f1a82677d1b", GUID)
    .replaceAll(`creationTimestamp: ${TIME}`, `creationTimestamp: "${TIME}"`)
    .replace(/^template: get.*$/m, "OUTPUT FORMAT")
    .trimEnd();
}

function steps(): Step[] {
  const found: Step[] = [];
  for (const block of goldenText("transcript.txt")
    .split(/^\$ calicoctl /m)
    .slice(1)) {
    const [command = "", ...lines] = block.split("\n");
    const text = lines.join("\n");
    const exit = /\[exit (\d+)\]/.exec(text);
    found.push({
      command: command.trim(),
      output: exit === null ? text : text.slice(0, exit.index),
      code: Number(exit?.[1] ?? -1),
    });
  }
  return found;
}

/** A wide order is printed as a number, so the column of tiers is wider than with 1e+06. */
function sameCells(text: string): string[][] {
  return text
    .replaceAll("1e+06", "1000000")
    .replaceAll("1e+07", "10000000")
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/ {2,}/));
}

test("the recorded session gives the same tables and exit codes", async () => {
  const ctl = new Ctl();
  await ctl.applyGolden();
  const replayed = steps().filter((step) => !(step.command in NOT_REPLAYED));
  assert.ok(replayed.length >= 38, `${replayed.length} steps`);
  for (const { command, output, code } of replayed) {
    const stdin = command.includes("np2.yaml") ? NP2 : "";
    const ran = await ctl.run(split(command.replace("np2.yaml", "-")), stdin);
    assert.equal(ran.code, code, `${command}: ${ran.err}`);
    if (command.includes("go-template")) {
      assert.match(ran.err, /output format .* is not known/);
    } else if (command.startsWith("get tiers")) {
      assert.deepEqual(sameCells(ran.out), sameCells(output), command);
    } else {
      const wanted =
        output.startsWith("NAME") || output.startsWith("NAMESPACE")
          ? output
          : `${improved(output)}\n`;
      const shown = `${ran.out}${ran.err}`;
      assert.equal(shown.trimEnd(), improved(wanted), command);
      // Tables keep every byte, the blanks at line ends too.
      if (output.startsWith("NAME")) assert.equal(ran.out, improvedTable(output), command);
    }
  }
});

function improvedTable(text: string): string {
  return text.replace("80e297d148a942ac93f63f1a82677d1b", GUID);
}

function split(command: string): string[] {
  const format = /^(.*? -o )(go-template=.*)$/.exec(command);
  if (format !== null) return [...(format[1] ?? "").trim().split(" "), format[2] ?? ""];
  return command.split(" ");
}

test("the recorded YAML gives the recorded bytes, key by key", async () => {
  const ctl = new Ctl();
  await ctl.applyGolden();
  const { kvs } = await ctl.store.list("/calico/");
  const stored = Object.fromEntries(kvs.map((kv) => [kv.key, kv.value]));
  assert.deepEqual(stored, JSON.parse(goldenText("etcd.json")));
});

test("a second apply writes nothing", async () => {
  const ctl = new Ctl();
  await ctl.applyGolden();
  const before = await ctl.store.list("/calico/");
  await ctl.applyGolden();
  assert.deepEqual(await ctl.store.list("/calico/"), before);
});

test("what get prints can be applied again and changes nothing", async () => {
  const ctl = new Ctl();
  await ctl.applyGolden();
  const before = await ctl.store.list("/calico/");
  for (const format of ["yaml", "json"]) {
    for (const kind of [
      "gnp",
      "np",
      "tier",
      "wep",
      "hep",
      "node",
      "ippool",
      "felixconfig",
      "bgppeer",
    ]) {
      const { out } = await ctl.run(["get", kind, "-A", "-o", format]);
      const ran = await ctl.run(["apply", "-f", "-"], out);
      assert.equal(ran.code, 0, `${kind}: ${ran.err}`);
    }
  }
  assert.deepEqual(await ctl.store.list("/calico/"), before);
});
