/** Text exposition through the Prometheus client; the only importer of it. */
import {
  collectDefaultMetrics,
  Counter as LibraryCounter,
  Gauge as LibraryGauge,
  Histogram as LibraryHistogram,
  Registry,
} from "@prometheus-io/client";
import { onDefinition, type Definition } from "./instruments.ts";

export interface Exposition {
  readonly contentType: string;
  /** All metrics in the text format. */
  text(): Promise<string>;
}

let exposition: Exposition | undefined;

/** Binds every instrument to one registry; once per process. */
export function startExposition(options: { readonly processMetrics: boolean }): Exposition {
  if (exposition !== undefined) return exposition;
  const registry = new Registry();
  if (options.processMetrics) collectDefaultMetrics({ register: registry });
  onDefinition((definition) => bind(definition, registry));
  exposition = { contentType: registry.contentType, text: () => registry.metrics() };
  return exposition;
}

function bind(definition: Definition, registry: Registry): void {
  const registers = [registry];
  if (definition.kind === "histogram") {
    const { name, help, buckets } = definition;
    const library = new LibraryHistogram({ name, help, buckets: [...buckets], registers });
    definition.forward = (value) => library.observe(value);
    return;
  }
  const { name, help, samples } = definition;
  const labelNames = [...definition.labelNames];
  // The numbers live in the instrument; the library reads them when it is scraped.
  if (definition.kind === "gauge") {
    const library: LibraryGauge<string> = new LibraryGauge<string>({
      name,
      help,
      labelNames,
      registers,
      collect: () => {
        library.reset();
        for (const sample of samples.values()) library.set(sample.labels, sample.value);
      },
    });
    return;
  }
  const library: LibraryCounter<string> = new LibraryCounter<string>({
    name,
    help,
    labelNames,
    registers,
    collect: () => {
      library.reset();
      for (const sample of samples.values()) library.inc(sample.labels, sample.value);
    },
  });
}
