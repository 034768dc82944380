/**
 * The agent's core without processes: v3 resources → validation and defaults → model → graph → the
 * Linux dataplane of this process's network namespace; and the same state for `evaluateForward`.
 */
import { CalcGraph, type GraphSettings, type ToDataplane } from "#calc";
import { HostState } from "#ctl";
import type { Dataplane } from "#dataplane";
import { modelKeyText, resourceUpdates, type ModelUpdate } from "#model";
import type { FlowEnd } from "#policy";
import { DEFAULT_TIERS, validateResource, withDerivedMetadata } from "#resource";

const AGENT_HOSTNAME = "host-a";

/** What the first write to a datastore adds. */
const BUILT_IN = DEFAULT_TIERS.map(({ name, ...spec }) => ({
  apiVersion: "projectcalico.org/v3",
  kind: "Tier",
  metadata: { name },
  spec,
}));

/** Everything that the graph says about these resources once they are applied, in its order. */
export function messagesOf(
  resources: readonly unknown[],
  settings: GraphSettings = {},
): ToDataplane[] {
  return new GraphFeed(settings).next(resources);
}

/** One graph that is led from state to state by what differs between them. */
export class GraphFeed {
  readonly #graph: CalcGraph;
  /** Key of the model → the update as text, to see what changed. */
  #given = new Map<string, { readonly update: ModelUpdate; readonly text: string }>();

  constructor(settings: GraphSettings = {}) {
    this.#graph = new CalcGraph({ hostname: AGENT_HOSTNAME, ...settings });
    this.#graph.onStatus("resync");
  }

  /** What the graph says of the way from the last state to this one. */
  next(resources: readonly unknown[]): ToDataplane[] {
    const before = this.#given;
    this.#given = new Map();
    for (const update of [...BUILT_IN, ...resources].flatMap(updatesOf)) {
      const key = modelKeyText(update.key);
      const text = JSON.stringify(update.value);
      this.#given.set(key, { update, text });
      if (before.get(key)?.text !== text) this.#graph.onUpdates([update]);
    }
    for (const [key, { update }] of before) {
      if (this.#given.has(key)) continue;
      this.#graph.onUpdates([{ key: update.key, value: null } as ModelUpdate]);
    }
    this.#graph.onStatus("in-sync");
    return [...this.#graph.flush()];
  }
}

function updatesOf(resource: unknown): readonly ModelUpdate[] {
  const checked = validateResource(resource);
  if (!checked.ok)
    throw new Error(
      `invalid resource in a test: ${JSON.stringify(checked.errors)}\n${JSON.stringify(resource)}`,
    );
  const stored = withDerivedMetadata(checked.value);
  return resourceUpdates({ kind: stored.kind, ...stored.metadata }, stored);
}

export async function program(
  dataplane: Dataplane,
  messages: readonly ToDataplane[],
): Promise<void> {
  for (const message of messages) dataplane.onMessage(message);
  for (let attempt = 0; ; attempt++) {
    const result = await dataplane.apply();
    if (result.complete) return;
    if (attempt > 50)
      throw new AggregateError(result.errors, "the dataplane does not become complete");
    await new Promise((resolve) => {
      setTimeout(resolve, result.retryAfterMs ?? 20);
    });
  }
}

/** The policy engine's view of the same messages. */
export class Oracle {
  readonly #host: HostState;

  constructor(messages: readonly ToDataplane[]) {
    this.#host = new HostState(messages);
  }

  /** Addresses behind a host interface; none when there is no endpoint. */
  addresses(interfaceName: string): readonly string[] {
    const endpoint = this.#host.workloadOn(interfaceName)?.endpoint;
    const nets = [...(endpoint?.ipv4Nets ?? []), ...(endpoint?.ipv6Nets ?? [])];
    return nets.map((net) => net.replace(/\/.*/, ""));
  }

  /** The end of a flow that is the workload behind a host interface. */
  workload(interfaceName: string): FlowEnd {
    const endpoint = this.#host.workloadOn(interfaceName)?.endpoint;
    if (endpoint === undefined) throw new Error(`no endpoint on ${interfaceName}`);
    const interfacePolicy = this.#host.interfacePolicy(interfaceName, [], true);
    return { kind: "workload", program: this.#host.program(endpoint), interfacePolicy };
  }

  /** The end that is another machine behind the host's interface with these addresses. */
  outside(interfaceName: string, addresses: readonly string[]): FlowEnd {
    const interfacePolicy = this.#host.interfacePolicy(interfaceName, addresses);
    return { kind: "outside", interfacePolicy };
  }
}
