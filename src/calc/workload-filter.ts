/**
 * Workloads that ask for source addresses beside their own. Where the settings do not allow that,
 * such a workload counts as absent, as in Felix, and that is told once.
 */
import { modelKeyText, type ModelWorkloadEndpoint, type WorkloadEndpointKey } from "#model";

interface Asking {
  readonly key: WorkloadEndpointKey;
  readonly value: ModelWorkloadEndpoint;
}

export class WorkloadFilter {
  readonly #asking = new Map<string, Asking>();
  readonly #told = new Set<string>();
  #allows = false;

  /** Of those that were refused, or no longer are, the caller has to ask again. */
  allow(allows: boolean): readonly Asking[] {
    if (allows === this.#allows) return [];
    this.#allows = allows;
    this.#told.clear();
    return [...this.#asking.values()];
  }

  /** Null for one that asks for what is not allowed. */
  admit(
    id: string,
    key: WorkloadEndpointKey,
    value: ModelWorkloadEndpoint | null,
  ): ModelWorkloadEndpoint | null {
    if (value !== null && value.allowSpoofedSourcePrefixes.length > 0) {
      this.#asking.set(id, { key, value });
      return this.#allows ? value : null;
    }
    if (this.#asking.size > 0 && this.#asking.delete(id)) this.#told.delete(id);
    return value;
  }

  /** Those refused and not told yet. */
  report(tell: (key: WorkloadEndpointKey) => void): void {
    if (this.#allows) return;
    for (const { key } of this.#asking.values()) {
      const id = modelKeyText(key);
      if (this.#told.has(id)) continue;
      this.#told.add(id);
      tell(key);
    }
  }
}
