/** What Log rules write into the kernel's log; no other network namespace than a machine's first may. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { EmulatedMachine } from "../support/emulated-machine.ts";
import type { LogResult } from "./inside/log.ts";

const SCRIPT = fileURLToPath(new URL("inside/log.ts", import.meta.url));

/** Two dataplanes in software emulation take half a minute: the bytes of the rule are checked daily. */
const whenLong = process.env["MARGAY_TEST_LONG"] === undefined ? () => {} : it;

void whenLong("Log rules write to the kernel's log: prefix, packet, rate limit", async () => {
  const node = `${process.execPath} --disable-warning=ExperimentalWarning`;
  const command = `unshare -m ${node} ${SCRIPT} 2>/run/shared/errors || { cat /run/shared/errors; exit 1; }`;
  const machine = new EmulatedMachine({ command, timeoutMs: 300_000 });
  try {
    const result = JSON.parse(await machine.output()) as LogResult;
    assert.deepEqual(result.errors, []);
    const [four = "", six = "", ...more] = result.byRule;
    assert.deepEqual(more, [], "established packets are not logged");
    assert.match(
      four,
      /^default\/gnp\/watch: IN=cali00000000001 OUT=cali00000000002 .*SRC=10\.65\.0\.1 DST=10\.65\.0\.2 .*PROTO=ICMP TYPE=8/,
    );
    assert.match(six, /^default\/gnp\/watch: .*DST=fd65:0000:.*:0002 .*PROTO=ICMPv6 TYPE=128/);
    assert.deepEqual(
      result.limited.map((line) => line.slice(0, 15)),
      Array.from({ length: 2 + 4 }, () => "calico-packet: "),
      "the Log rule's burst of two, and every drop at the tier's end",
    );
  } finally {
    await machine.close();
  }
});
