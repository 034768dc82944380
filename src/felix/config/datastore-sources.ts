/**
 * The sources of configuration that live in the datastore, kept up to date from the syncer's
 * updates: ClusterInformation, FelixConfiguration `default`, the one selector-scoped
 * FelixConfiguration that wins (oldest, then by name), `node.<host>`, and this node's own labels.
 */
import type { ModelClusterInformation, ModelFelixConfig, ModelNode, ModelUpdate } from "#model";
import { parseSelector, type Selector } from "#selector";
import type { RawConfig, RawSources } from "./resolve.ts";

export class DatastoreSources {
  readonly #hostname: string;
  readonly #configs = new Map<string, ModelFelixConfig>();
  #cluster: ModelClusterInformation | null = null;
  #node: ModelNode | null = null;

  constructor(hostname: string) {
    this.#hostname = hostname;
  }

  /** True if the update may change configuration or readiness. */
  onUpdate(update: ModelUpdate): boolean {
    const { key, value } = update;
    if (key.kind === "FelixConfiguration") {
      if (value === null) return this.#configs.delete(key.name);
      this.#configs.set(key.name, value as ModelFelixConfig);
      return true;
    }
    if (key.kind === "ClusterInformation") {
      this.#cluster = value as ModelClusterInformation | null;
      return true;
    }
    if (key.kind === "Node" && key.name === this.#hostname) {
      this.#node = value as ModelNode | null;
      return true;
    }
    return false;
  }

  /** Why the datastore is not ready for the agent, or undefined when it is. */
  notReady(): string | undefined {
    if (this.#cluster === null) return "there is no ClusterInformation default";
    return this.#cluster.ready ? undefined : "ClusterInformation default has datastoreReady: false";
  }

  sources(): RawSources {
    return {
      "datastore (global)": { ...this.#clusterParams(), ...this.#configs.get("default")?.params },
      "datastore (per-selector)": this.#selected()?.params ?? {},
      "datastore (per-host)": this.#configs.get(`node.${this.#hostname}`)?.params ?? {},
    };
  }

  #clusterParams(): RawConfig {
    if (this.#cluster === null) return {};
    const { clusterGuid, clusterType, calicoVersion } = this.#cluster;
    return { ClusterGUID: clusterGuid, ClusterType: clusterType, CalicoVersion: calicoVersion };
  }

  #selected(): ModelFelixConfig | undefined {
    const labels = this.#node?.labels ?? {};
    const [winner] = [...this.#configs]
      .filter(
        ([name, config]) =>
          name !== "default" &&
          !name.startsWith("node.") &&
          config.nodeSelector !== "" &&
          (selectorOf(config.nodeSelector)?.matches(labels) ?? false),
      )
      .toSorted(
        ([nameA, a], [nameB, b]) =>
          compare(a.creationTimestamp, b.creationTimestamp) || compare(nameA, nameB),
      );
    return winner?.[1];
  }
}

/** Selectors reach us validated; one that is not selects nothing. */
function selectorOf(text: string): Selector | undefined {
  try {
    return parseSelector(text);
  } catch {
    return undefined;
  }
}

/** RFC 3339 times in UTC order as text. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
