/** Metrics; the only importer of the Prometheus client. */
import type { Exposition } from "./exposition.ts";

export type { Exposition } from "./exposition.ts";
export {
  counter,
  gauge,
  histogram,
  LATENCY_BUCKETS,
  type Counter,
  type Gauge,
  type Histogram,
  type Labels,
} from "./instruments.ts";

/** Loads the client library and makes every instrument visible to scrapes. */
export async function enableExposition(options: {
  readonly processMetrics: boolean;
}): Promise<Exposition> {
  const { startExposition } = await import("./exposition.ts");
  return startExposition(options);
}
