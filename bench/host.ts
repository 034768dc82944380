/**
 * The whole agent on one host, against a real etcd, with real packets: time from the etcd put to the
 * first (or last) packet that policy lets through. `beside` is Felix of Calico's v3.33 line on the
 * same kind of machine, as measured once; everything else is measured here.
 */
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../test/support/sandbox.ts";
import type { Figure, Suite } from "./support/figures.ts";
import type { HostResult, HostSize } from "./host/inside.ts";

const INSIDE = fileURLToPath(new URL("./host/inside.ts", import.meta.url));

interface Reference {
  readonly size: HostSize;
  readonly target: Partial<Record<keyof HostResult, number>>;
  readonly felix: Partial<Record<keyof HostResult, number>>;
}

const SMALL: Reference = {
  size: { policies: 1000, local: 200, remote: 5000, rounds: 20 },
  target: {
    startMs: 2000,
    endpointMs: 10,
    allowMs: 5,
    leakMs: 5,
    policyMs: 6,
    rssMb: 180,
    idleCpuSeconds: 0.1,
    lost: 0,
  },
  felix: {
    startMs: 2060,
    endpointMs: 104,
    allowMs: 35,
    leakMs: 34,
    policyMs: 36,
    rssMb: 153,
    idleCpuSeconds: 0.18,
  },
};
const LARGE: Reference = {
  size: { policies: 2000, local: 500, remote: 20_000, rounds: 20 },
  target: {
    startMs: 5000,
    endpointMs: 15,
    allowMs: 7.5,
    leakMs: 7.5,
    policyMs: 9,
    rssMb: 250,
    idleCpuSeconds: 0.1,
    lost: 0,
  },
  felix: {
    startMs: 5900,
    endpointMs: 231,
    allowMs: 56,
    leakMs: 57,
    policyMs: 53,
    rssMb: 250,
    idleCpuSeconds: 5.7,
  },
};

const NAMES: Record<keyof HostResult, { readonly what: string; readonly unit: string }> = {
  startMs: { what: "agent started -> first packet", unit: "ms" },
  endpointMs: { what: "endpoint added -> first packet", unit: "ms" },
  allowMs: { what: "label change -> newly allowed packet", unit: "ms" },
  leakMs: { what: "label change -> last packet that should not pass", unit: "ms" },
  policyMs: { what: "policy change -> allowed", unit: "ms" },
  kernelElementMs: { what: "of which the kernel's own commit of one element", unit: "ms" },
  rssMb: { what: "resident memory", unit: "MB" },
  idleCpuSeconds: { what: "CPU in 10 s idle", unit: "s" },
  lost: { what: "lost packets: kill -9 and start again, twice, 1,000 packets/s", unit: "packets" },
};

export const suite: Suite = {
  title: "One host: datastore event to packet (medians; beside: Felix v3.33, recorded)",
  run: async () => [...(await measure(SMALL)), ...(await measure(LARGE))],
};

async function measure(reference: Reference): Promise<Figure[]> {
  const { policies, local, remote } = reference.size;
  const result = await runInSandbox<HostResult>(INSIDE, reference.size);
  return (Object.keys(NAMES) as (keyof HostResult)[]).map((key) => {
    const felix = reference.felix[key];
    const target = reference.target[key];
    return {
      what: `${NAMES[key].what} (${policies} policies x 10, ${local} local, ${remote} remote)`,
      unit: NAMES[key].unit,
      ours: result[key],
      ...(target === undefined ? {} : { target }),
      ...(felix === undefined ? {} : { floor: felix, floorIs: "Felix" }),
    };
  });
}
