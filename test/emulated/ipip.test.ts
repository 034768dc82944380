/** IPIP, which the kernel of this machine lacks, with real agents and packets under Debian's kernel. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { EmulatedMachine } from "../support/emulated-machine.ts";
import type { IpipResult } from "./inside/ipip.ts";

const SCRIPT = fileURLToPath(new URL("inside/ipip.ts", import.meta.url));

it("a tunnel over IPIP, to a host that another program set up", async () => {
  const command = `${process.execPath} --disable-warning=ExperimentalWarning ${SCRIPT} 2>/run/shared/errors ||
    { cat /run/shared/errors; exit 1; }`;
  const machine = new EmulatedMachine({ command, timeoutMs: 600_000 });
  try {
    const result = JSON.parse(await machine.output()) as IpipResult;
    assert.equal(result.across, "reached, tunnel 2, plain 0", result.log);
    assert.equal(result.fromHost, "reached, tunnel 2, plain 0");
    const lines = (text: string): string[] =>
      text
        .split("\n")
        .flatMap((line) => line.trim().replaceAll(/ +/g, " ") || [])
        .sort();
    assert.deepEqual(lines(result.routes), [
      "10.65.1.1 dev cali00000000001 scope link metric 1024",
      "10.65.2.0 via 10.0.1.12 dev eth0 metric 1024 onlink",
      "10.65.2.0/26 via 10.0.1.12 dev eth0 metric 1024 onlink",
      "10.65.3.0 via 10.0.2.13 dev tunl0 metric 1024 onlink mtu 1480",
      "10.65.3.0/26 via 10.0.2.13 dev tunl0 metric 1024 onlink mtu 1480",
      "blackhole 10.65.1.0/26 metric 1024",
    ]);
    // The third host is beyond the router: without encapsulation the routers must know the way.
    assert.deepEqual(lines(result.routes6), [
      "blackhole fd65:1::/122 dev lo metric 1024 pref medium",
      "fd65:1::1 dev cali00000000001 metric 1024 pref medium",
      "fd65:2::/122 via fd00:1::12 dev eth0 metric 1024 onlink pref medium",
    ]);
    assert.match(result.device, /mtu 1480 .*ipip /s);
    assert.match(result.address, /inet 10\.65\.1\.0\/32 scope global tunl0/);
    assert.ok(result.afterDamage, "switched off and without its address, it is repaired");
    assert.deepEqual(lines(result.afterPoolRemoved), [
      "10.65.1.1 dev cali00000000001 scope link metric 1024",
    ]);
  } finally {
    await machine.close();
  }
});
