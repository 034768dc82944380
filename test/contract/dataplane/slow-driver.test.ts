/** A driver that does not read: what it has not taken waits in the graph, squashed, and not in memory. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CalcGraph } from "#calc";
import { openExternalDataplane } from "#dataplane";
import type { ModelUpdate } from "#model";
import { FrameCutter, readToDataplane } from "../../../src/dataplane/external/stream.ts";
import { Pipeline } from "../../../src/felix/pipeline.ts";

const HOSTS = 2000;
const ROUNDS = 50;

const node = (host: number, round: number): ModelUpdate => ({
  key: { kind: "Node", name: `host-${host}` },
  value: {
    labels: { round: String(round), padding: "x".repeat(100) },
    bgpIpv4: `10.${host >> 8}.${host & 255}.1/24`,
    bgpIpv6: "",
    asNumber: "",
    hostIpv4: "",
    hostIpv6: "",
    ipv4IpipTunnelAddr: "",
    ipv4VxlanTunnelAddr: "",
    ipv6VxlanTunnelAddr: "",
    vxlanTunnelMac: "",
    vxlanTunnelMacV6: "",
  },
});

test("a driver that reads late gets the newest state, and cost no memory meanwhile", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "margay-slow-"));
  const driver = join(dir, "driver");
  const received = join(dir, "received");
  const go = join(dir, "go");
  writeFileSync(
    driver,
    `#!/bin/sh\nwhile [ ! -e ${go} ]; do sleep 0.05; done\nexec cat /dev/fd/3 >${received}\n`,
  );
  chmodSync(driver, 0o755);
  const ending = new AbortController();
  const lost: unknown[] = [];
  const dataplane = await openExternalDataplane({
    driver,
    onLost: (error) => lost.push(error),
    ending: ending.signal,
  });
  const graph = new CalcGraph({ hostname: "host-0" });
  let flushed = 0;
  const pipeline = new Pipeline({
    dataplane,
    flush: (emit) => {
      graph.flush((message) => {
        flushed += 1;
        emit(message);
      });
    },
    nowMs: () => performance.now(),
  });
  t.after(async () => {
    ending.abort();
    await pipeline.close();
    rmSync(dir, { recursive: true });
  });
  graph.onStatus("in-sync");
  for (let round = 1; round <= ROUNDS; round++) {
    for (let host = 0; host < HOSTS; host++) {
      graph.onUpdates([node(host, round)]);
      pipeline.onEvents(performance.now());
    }
    await delay(1);
  }
  assert.ok(
    flushed <= 2 * HOSTS + 10,
    `${flushed} messages left the graph for a driver that reads none`,
  );
  writeFileSync(go, "");
  const state = (): Map<string, string> => {
    const labels = new Map<string, string>();
    for (const frame of new FrameCutter(1 << 20).push(readFileSync(received))) {
      const { message } = readToDataplane(frame);
      if (message?.case === "hostMetadataUpdate")
        labels.set(message.value.hostname, message.value.labels["round"] ?? "");
    }
    return labels;
  };
  const done = (): boolean => {
    const labels = state();
    return labels.size === HOSTS && [...labels.values()].every((round) => round === String(ROUNDS));
  };
  const deadline = performance.now() + 10_000;
  await delay(200);
  while (!done()) {
    assert.ok(performance.now() < deadline, "not everything arrived");
    await delay(50);
  }
  assert.ok(flushed <= 3 * HOSTS + 10, `${flushed} messages`);
  assert.deepEqual(lost, []);
});
