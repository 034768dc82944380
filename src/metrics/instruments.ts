/**
 * Counters, gauges and histograms with Prometheus' meaning. Counting costs an addition; the client
 * library is loaded only when somebody wants to scrape. Instruments are made once per module, at
 * its top, under the names that dashboards know (`felix_…`).
 */
import { bug } from "#std";

export type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly labels: Labels;
  value: number;
}

export interface Counter {
  inc(by?: number, labels?: Labels): void;
  value(labels?: Labels): number;
}

export interface Gauge {
  set(value: number, labels?: Labels): void;
  add(by: number, labels?: Labels): void;
  value(labels?: Labels): number;
}

export interface Histogram {
  /** `value` in the unit that the name says (Prometheus: seconds, bytes). */
  observe(value: number): void;
  count(): number;
  sum(): number;
}

export type Definition =
  | {
      readonly kind: "counter" | "gauge";
      readonly name: string;
      readonly help: string;
      readonly labelNames: readonly string[];
      readonly samples: ReadonlyMap<string, Sample>;
    }
  | {
      readonly kind: "histogram";
      readonly name: string;
      readonly help: string;
      readonly buckets: readonly number[];
      /** Set when the library is loaded; observations before it are in `count` and `sum` only. */
      forward?: (value: number) => void;
    };

interface Entry {
  readonly definition: Definition;
  readonly instrument: unknown;
}

const registry = new Map<string, Entry>();
const listeners: ((definition: Definition) => void)[] = [];

/** Latencies from 100 µs to 10 s, in seconds. */
export const LATENCY_BUCKETS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
];

export function counter(name: string, help: string, labelNames: readonly string[] = []): Counter {
  return register<Counter>(name, "counter", () => {
    const store = sampleStore(labelNames);
    return {
      definition: { kind: "counter", name, help, labelNames, samples: store.samples },
      instrument: {
        inc: (by = 1, labels = {}) => void (store.at(labels).value += by),
        value: (labels = {}) => store.peek(labels),
      },
    };
  });
}

export function gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
  return register<Gauge>(name, "gauge", () => {
    const store = sampleStore(labelNames);
    return {
      definition: { kind: "gauge", name, help, labelNames, samples: store.samples },
      instrument: {
        set: (value, labels = {}) => void (store.at(labels).value = value),
        add: (by, labels = {}) => void (store.at(labels).value += by),
        value: (labels = {}) => store.peek(labels),
      },
    };
  });
}

export function histogram(
  name: string,
  help: string,
  buckets: readonly number[] = LATENCY_BUCKETS,
): Histogram {
  return register<Histogram>(name, "histogram", () => {
    const definition: Extract<Definition, { kind: "histogram" }> = {
      kind: "histogram",
      name,
      help,
      buckets,
    };
    let count = 0;
    let sum = 0;
    return {
      definition,
      instrument: {
        observe: (value) => {
          count += 1;
          sum += value;
          definition.forward?.(value);
        },
        count: () => count,
        sum: () => sum,
      },
    };
  });
}

/** Every instrument that exists, and each one made later. */
export function onDefinition(callback: (definition: Definition) => void): void {
  for (const entry of registry.values()) callback(entry.definition);
  listeners.push(callback);
}

function register<T>(
  name: string,
  kind: Definition["kind"],
  make: () => { readonly definition: Definition; readonly instrument: T },
): T {
  const known = registry.get(name);
  if (known !== undefined) {
    if (known.definition.kind !== kind) throw bug("metric declared twice, as two kinds", { name });
    return known.instrument as T;
  }
  const entry = make();
  registry.set(name, entry);
  for (const listener of listeners) listener(entry.definition);
  return entry.instrument;
}

function sampleStore(labelNames: readonly string[]): {
  readonly samples: ReadonlyMap<string, Sample>;
  at(labels: Labels): Sample;
  peek(labels: Labels): number;
} {
  const samples = new Map<string, Sample>();
  const keyOf = (labels: Labels): string =>
    labelNames.length === 0 ? "" : labelNames.map((name) => labels[name] ?? "").join("\u0000");
  const at = (labels: Labels): Sample => {
    const key = keyOf(labels);
    let sample = samples.get(key);
    if (sample === undefined) {
      sample = { labels, value: 0 };
      samples.set(key, sample);
    }
    return sample;
  };
  // A metric without labels exists from the start, at zero.
  if (labelNames.length === 0) at({});
  return { samples, at, peek: (labels) => samples.get(keyOf(labels))?.value ?? 0 };
}
