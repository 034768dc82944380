/**
 * Which local workloads are the source or the target of a live migration. A migration names a
 * workload, one endpoint of it, or by a selector the endpoints that are the target. Being a target
 * by selector comes before being one by name, and both before being a source; of several
 * migrations the greatest UID is told.
 */
import type { MigratingWorkload, ModelLiveMigration, WorkloadEndpointKey } from "#model";
import { parseComposedSelector, type Selector } from "#selector";
import type { LiveMigrationRole } from "./messages.ts";

export interface MigrationRole {
  readonly liveMigrationRole: LiveMigrationRole;
  readonly liveMigrationUid: string;
}

interface Migration {
  readonly uid: string;
  readonly source: MigratingWorkload | undefined;
  readonly target: MigratingWorkload | undefined;
  readonly selector: Selector | undefined;
}

export class LiveMigrations {
  readonly #migrations = new Map<string, Migration>();

  /** There are few and seldom any: a change of them concerns every local endpoint. */
  get isEmpty(): boolean {
    return this.#migrations.size === 0;
  }

  set(id: string, migration: ModelLiveMigration | null): void {
    if (migration === null) {
      this.#migrations.delete(id);
      return;
    }
    const { uid, source, target } = migration;
    const selector = target !== undefined && "selector" in target ? target.selector : undefined;
    this.#migrations.set(id, {
      uid,
      source,
      target: target !== undefined && "selector" in target ? undefined : target,
      selector: selector === undefined ? undefined : parseComposedSelector(selector),
    });
  }

  roleOf(
    key: WorkloadEndpointKey,
    matches: (selector: Selector) => boolean,
  ): MigrationRole | undefined {
    const having = (wanted: (migration: Migration) => boolean): readonly Migration[] =>
      [...this.#migrations.values()].filter(wanted);
    return (
      roleFrom(
        "TARGET",
        having(({ selector }) => selector !== undefined && matches(selector)),
      ) ??
      roleFrom(
        "TARGET",
        having(({ target }) => isMeant(key, target)),
      ) ??
      roleFrom(
        "SOURCE",
        having(({ source }) => isMeant(key, source)),
      )
    );
  }
}

/** In Kubernetes a workload's id is unique in the cluster, and the host may not be known. */
function isMeant(key: WorkloadEndpointKey, meant: MigratingWorkload | undefined): boolean {
  return (
    meant !== undefined &&
    key.orchestratorId === meant.orchestratorId &&
    key.workloadId === meant.workloadId &&
    (key.orchestratorId === "k8s" || key.hostname === meant.hostname) &&
    (meant.endpointId === undefined || meant.endpointId === key.endpointId)
  );
}

function roleFrom(
  liveMigrationRole: LiveMigrationRole,
  migrations: readonly Migration[],
): MigrationRole | undefined {
  if (migrations.length === 0) return undefined;
  const liveMigrationUid = migrations.reduce((best, { uid }) => (uid > best ? uid : best), "");
  return { liveMigrationRole, liveMigrationUid };
}
