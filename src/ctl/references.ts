/** Checks that need other objects of the store, as Calico's own client makes them. */
import type { Datastore } from "#datastore";
import { cidrsOverlap, tryParseCidr } from "#ip";
import {
  decodeStored,
  DEFAULT_ALLOW_PROFILE,
  DEFAULT_TIERS,
  guessKind,
  kindElsewhere,
  kindInfo,
  kindPrefix,
  KINDS,
  resourcePath,
  type Kind,
  type Resource,
} from "#resource";
import { didYouMean, inputError } from "#std";
import { unsupported } from "./resource-errors.ts";

/**
 * Before a resource is created. A pool's block never changes, so pools that overlap already (from
 * another tool) can still be changed, to disable one of them.
 */
export async function checkCreate(store: Datastore, resource: Resource): Promise<void> {
  await checkWrite(store, resource);
  if (resource.kind === "IPPool") await checkOverlap(store, resource);
}

/** Before a resource is changed: what it names must be there. */
export async function checkWrite(store: Datastore, resource: Resource): Promise<void> {
  if (kindInfo(resource.kind)?.tiered === true) {
    await mustExist(
      store,
      resource,
      "Tier",
      (resource.spec as { readonly tier: string }).tier,
      "spec.tier",
    );
  }
  if (resource.kind === "BGPPeer") {
    for (const [index, name] of (resource.spec.filters ?? []).entries()) {
      await mustExist(store, resource, "BGPFilter", name, `spec.filters[${index}]`);
    }
  }
}

async function mustExist(
  store: Datastore,
  resource: Resource,
  kind: Kind,
  name: string,
  path: string,
): Promise<void> {
  const { kv } = await store.get(resourcePath(kind, name));
  if (kv !== null) return;
  const names = (await store.list(kindPrefix(kind))).kvs.map(
    (one) => one.key.split("/").at(-1) ?? "",
  );
  const guess = didYouMean(name, names);
  const hint =
    guess === undefined ? `there are: ${names.join(", ") || "none"}` : `did you mean ${guess}?`;
  throw inputError(
    "missing-reference",
    `${resource.kind} ${resource.metadata.name}: ${path}: ${kind} ${JSON.stringify(name)} does not exist (${hint})`,
    { fields: { path, kind, name } },
  );
}

async function checkOverlap(
  store: Datastore,
  pool: Extract<Resource, { kind: "IPPool" }>,
): Promise<void> {
  const own = tryParseCidr(pool.spec.cidr);
  if (own === undefined) return;
  for (const kv of (await store.list(kindPrefix("IPPool"))).kvs) {
    if (kv.key === resourcePath("IPPool", pool.metadata.name)) continue;
    const other = readPool(kv.value);
    const cidr = other === undefined ? undefined : tryParseCidr(other.cidr);
    if (cidr === undefined || !cidrsOverlap(own, cidr)) continue;
    throw inputError(
      "invalid-resource",
      `IPPool ${pool.metadata.name}: spec.cidr: ${pool.spec.cidr} overlaps ${other?.cidr ?? ""} of IPPool ${other?.name ?? ""}`,
    );
  }
}

function readPool(text: string): { readonly name: string; readonly cidr: string } | undefined {
  try {
    const pool = decodeStored(text);
    return pool.kind === "IPPool" ? { name: pool.metadata.name, cidr: pool.spec.cidr } : undefined;
  } catch {
    return undefined; // An invalid pool gives no addresses away.
  }
}

/** What may not change once an object is there. */
export function checkUpdate(before: Resource, after: Resource): void {
  if (before.kind !== "IPPool" || after.kind !== "IPPool") return;
  for (const name of ["cidr", "blockSize"] as const) {
    if (before.spec[name] === after.spec[name]) continue;
    throw inputError(
      "invalid-resource",
      `IPPool ${after.metadata.name}: spec.${name}: cannot change from ${before.spec[name]} to ${after.spec[name]}; make a new pool`,
    );
  }
}

/** What the cluster itself keeps; a single field of it may be patched, to lock the datastore. */
export function refuseReadonly(kind: Kind, verb: "create" | "apply" | "replace" | "delete"): void {
  if (kind !== "ClusterInformation") return;
  throw unsupported(
    verb,
    kind,
    "resource is readonly; margay patch clusterinfo default changes a field",
  );
}

/** The built-in objects stay, and a tier goes only when it is empty. */
export async function checkDelete(store: Datastore, kind: Kind, name: string): Promise<void> {
  if (kind === "Profile" && name === DEFAULT_ALLOW_PROFILE) {
    throw unsupported("Delete", name, `Cannot delete the ${name} profile`);
  }
  if (kind !== "Tier") return;
  if (DEFAULT_TIERS.some((tier) => tier.name === name)) {
    throw unsupported("Delete", name, `Cannot delete ${name} tier`);
  }
  for (const info of KINDS.filter((one) => one.tiered)) {
    for (const kv of (await store.list(kindPrefix(info.kind))).kvs) {
      if (tierOf(kv.value) === name) {
        throw unsupported("delete", name, "Cannot delete a non-empty tier");
      }
    }
  }
}

/** Also of a policy that does not validate: it still names its tier. */
function tierOf(text: string): string {
  try {
    const value = JSON.parse(text) as { readonly spec?: { readonly tier?: unknown } };
    const tier = value.spec?.tier;
    return typeof tier === "string" && tier !== "" ? tier : "default";
  } catch {
    return "default";
  }
}

export function kindHint(name: string): string {
  const elsewhere = kindElsewhere(name);
  if (elsewhere !== undefined) return `; see: ${elsewhere}`;
  const guess = guessKind(name);
  return guess === undefined ? "" : `; did you mean ${guess}?`;
}
