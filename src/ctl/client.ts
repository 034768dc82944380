/**
 * Resources over a datastore: create, update, apply, delete with compare-and-swap, the checks that
 * need other objects, and the objects that every datastore has from its first write on.
 *
 * Errors (all of kind input): `not-found`, `already-exists`, `conflict`, `unsupported`,
 * `missing-reference`, `invalid-resource`; those of the datastore pass through.
 */
import { randomUUID } from "node:crypto";
import type { Datastore, KeyValue, Revision } from "#datastore";
import {
  decodeStored,
  DEFAULT_ALLOW_PROFILE,
  encodeStored,
  formatFieldError,
  kindPrefix,
  resourcePath,
  validateResource,
  withDerivedMetadata,
  withoutBookkeeping,
  type Kind,
  type Metadata,
  type Resource,
  type ResourceOf,
} from "#resource";
import { inputError, MargayError, messageOf } from "#std";
import { ensureInitialised } from "./initialise.ts";
import { checkCreate, checkDelete, checkUpdate, checkWrite } from "./references.ts";
import { alreadyExists, conflict, describe, notFound } from "./resource-errors.ts";

export interface ClientOptions {
  /** For tests: both are the system's own otherwise. */
  readonly now?: () => Date;
  readonly uuid?: () => string;
}

export interface Written<R extends Resource = Resource> {
  readonly resource: R;
  readonly outcome: "created" | "updated" | "unchanged";
}

export interface Listed<R extends Resource = Resource> {
  readonly resources: readonly R[];
  /** Objects that do not pass validation: their key and why. */
  readonly invalid: readonly { readonly key: string; readonly message: string }[];
  readonly revision: Revision;
}

/** A write that lost a race is tried again this often, unless the caller named a revision. */
const ATTEMPTS = 5;

export class Client {
  readonly store: Datastore;
  readonly #now: () => Date;
  readonly #uuid: () => string;
  #initialised = false;

  constructor(store: Datastore, options: ClientOptions = {}) {
    this.store = store;
    this.#now = options.now ?? (() => new Date());
    this.#uuid = options.uuid ?? randomUUID;
  }

  /** Throws `not-found`. */
  async get<K extends Kind>(kind: K, name: string, namespace?: string): Promise<ResourceOf<K>> {
    const found = await this.find(kind, name, namespace);
    if (found === undefined) throw notFound(kind, name, namespace);
    return found;
  }

  async find<K extends Kind>(
    kind: K,
    name: string,
    namespace?: string,
  ): Promise<ResourceOf<K> | undefined> {
    if (kind === "Profile" && name === DEFAULT_ALLOW_PROFILE)
      return virtualProfile() as ResourceOf<K>;
    const { kv } = await this.store.get(resourcePath(kind, name, namespace));
    return kv === null ? undefined : (shown(kv) as ResourceOf<K>);
  }

  /** Sorted by key: namespace, then name. Every namespace when none is given. */
  async list<K extends Kind>(
    kind: K,
    options: { readonly namespace?: string } = {},
  ): Promise<Listed<ResourceOf<K>>> {
    const { kvs, revision } = await this.store.list(kindPrefix(kind, options.namespace));
    const resources: ResourceOf<K>[] = [];
    const invalid: { key: string; message: string }[] = [];
    for (const kv of kvs) {
      try {
        resources.push(shown(kv) as ResourceOf<K>);
      } catch (error) {
        invalid.push({ key: kv.key, message: messageOf(error) });
      }
    }
    if (kind === "Profile") resources.push(virtualProfile() as ResourceOf<K>);
    return { resources, invalid, revision };
  }

  /** Throws `already-exists`. */
  async create<R extends Resource>(resource: R): Promise<R> {
    const checked = this.#check(resource);
    await this.#initialise();
    const key = pathOf(checked);
    const { kv } = await this.store.get(key);
    if (kv !== null) throw alreadyExists(checked);
    return (await this.#insert(checked)) as R;
  }

  /** Throws `not-found`; `conflict` when metadata.resourceVersion is not the store's. */
  async update<R extends Resource>(resource: R): Promise<Written<R>> {
    const checked = this.#check(resource);
    await this.#initialise();
    return (await this.#retry(checked, async () => {
      const { kv } = await this.store.get(pathOf(checked));
      if (kv === null)
        throw notFound(checked.kind, checked.metadata.name, checked.metadata.namespace);
      return this.#replace(checked, kv);
    })) as Written<R>;
  }

  /** Creates, or updates keeping uid and creation time; writes nothing when nothing changes. */
  async apply<R extends Resource>(resource: R): Promise<Written<R>> {
    const checked = this.#check(resource);
    await this.#initialise();
    return (await this.#retry(checked, async () => {
      const { kv } = await this.store.get(pathOf(checked));
      if (kv !== null) return this.#replace(checked, kv);
      return { resource: await this.#insert(checked), outcome: "created" } as const;
    })) as Written<R>;
  }

  /** Throws `not-found`, `unsupported`; `conflict` when `resourceVersion` is not the store's. */
  async delete(
    kind: Kind,
    name: string,
    options: { readonly namespace?: string; readonly resourceVersion?: string } = {},
  ): Promise<void> {
    const { namespace } = options;
    let { resourceVersion } = options;
    await checkDelete(this.store, kind, name);
    if (kind === "Node") await this.#removeBelongings(name, resourceVersion);
    if (kind === "IPPool") resourceVersion = await this.#retirePool(name, resourceVersion);
    const ifModRevision = resourceVersion === undefined ? undefined : Number(resourceVersion);
    try {
      const deleted = await this.store.delete(
        resourcePath(kind, name, namespace),
        ifModRevision === undefined ? {} : { ifModRevision },
      );
      if (!deleted) throw notFound(kind, name, namespace);
    } catch (error) {
      if (codeOf(error) !== "conflict") throw error;
      throw conflict(describe(kind, name, namespace), error);
    }
  }

  async #removeBelongings(node: string, resourceVersion: string | undefined): Promise<void> {
    const found = await this.store.get(resourcePath("Node", node));
    // What then is wrong, the deletion says.
    if (found.kv === null) return;
    if (resourceVersion !== undefined && String(found.kv.modRevision) !== resourceVersion) return;
    const { removeBelongings } = await import("./remove-node.ts");
    await removeBelongings(this, node);
  }

  /** What of the pool is to be deleted then; a pool that cannot be read is deleted as it is. */
  async #retirePool(name: string, given: string | undefined): Promise<string | undefined> {
    const { kv } = await this.store.get(resourcePath("IPPool", name));
    const pool = kv === null ? undefined : stored(kv);
    if (pool?.kind !== "IPPool") return given;
    const { retirePool } = await import("./retire-pool.ts");
    const revision = await retirePool(this, pool, given);
    return given === undefined ? undefined : revision;
  }

  async #initialise(): Promise<void> {
    if (this.#initialised) return;
    await ensureInitialised(this.store, (resource) => this.#stamp(resource), this.#uuid);
    this.#initialised = true;
  }

  #check(resource: Resource): Resource {
    const result = validateResource(resource);
    if (result.ok) return withDerivedMetadata(result.value);
    throw inputError(
      "invalid-resource",
      `${describe(resource.kind, resource.metadata?.name ?? "")}: ${result.errors.map(formatFieldError).join("; ")}`,
      { fields: { errors: result.errors } },
    );
  }

  /** A new object's identity and birth. */
  #stamp(resource: Resource): Resource {
    return withMetadata(resource, {
      uid: this.#uuid(),
      creationTimestamp: this.#now()
        .toISOString()
        .replace(/\.\d+Z$/, "Z"),
    });
  }

  async #insert(resource: Resource): Promise<Resource> {
    await checkCreate(this.store, resource);
    if (resource.kind === "Profile" && resource.metadata.name === DEFAULT_ALLOW_PROFILE) {
      throw alreadyExists(resource);
    }
    const stamped = this.#stamp(resource);
    try {
      const revision = await this.store.put(pathOf(resource), encodeStored(stamped), {
        ifModRevision: 0,
      });
      return withRevision(stamped, revision);
    } catch (error) {
      if (codeOf(error) !== "exists" && codeOf(error) !== "conflict") throw error;
      throw alreadyExists(resource, error);
    }
  }

  async #replace(resource: Resource, kv: KeyValue): Promise<Written> {
    const { resourceVersion } = resource.metadata;
    if (resourceVersion !== undefined && resourceVersion !== String(kv.modRevision)) {
      throw conflict(
        describe(resource.kind, resource.metadata.name, resource.metadata.namespace),
        undefined,
        { stored: kv.modRevision, given: resourceVersion },
      );
    }
    const before = stored(kv);
    const named = withStatusOf(before, withMetadata(resource, identityOf(before?.metadata)));
    const kept = named.metadata.uid === undefined ? this.#stamp(named) : named;
    if (before !== undefined) checkUpdate(before, kept);
    const text = encodeStored(kept);
    if (text === kv.value) {
      return { resource: withRevision(kept, kv.modRevision), outcome: "unchanged" };
    }
    // What cannot be read may have had another block.
    await (before === undefined ? checkCreate : checkWrite)(this.store, kept);
    const revision = await this.store.put(kv.key, text, { ifModRevision: kv.modRevision });
    return { resource: withRevision(kept, revision), outcome: "updated" };
  }

  async #retry(resource: Resource, attempt: () => Promise<Written>): Promise<Written> {
    const tries = resource.metadata.resourceVersion === undefined ? ATTEMPTS : 1;
    for (let left = tries; ; left--) {
      try {
        return await attempt();
      } catch (error) {
        const lostRace = codeOf(error) === "conflict" || codeOf(error) === "already-exists";
        if (!lostRace) throw error;
        if (left > 1) continue;
        const { kind, metadata } = resource;
        // It says which revision was asked for, and which one is there.
        if (metadata.resourceVersion !== undefined && codeOf(error) === "conflict") throw error;
        throw conflict(describe(kind, metadata.name, metadata.namespace), error);
      }
    }
  }
}

/** What a stored value becomes for a reader. Throws `invalid-resource`. */
function shown(kv: KeyValue): Resource {
  return withRevision(decodeStored(kv.value), kv.modRevision);
}

/** An object that cannot be read may still be replaced. */
function stored(kv: KeyValue): Resource | undefined {
  try {
    return decodeStored(kv.value);
  } catch {
    return undefined;
  }
}

function identityOf(metadata: Metadata | undefined): Partial<Metadata> {
  const { uid, creationTimestamp } = metadata ?? {};
  return {
    ...(uid === undefined ? {} : { uid }),
    ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
  };
}

/** What was found out about an object stays when somebody writes what is wanted of it. */
function withStatusOf(before: Resource | undefined, after: Resource): Resource {
  const { status } = (before ?? {}) as { readonly status?: unknown };
  if (status === undefined || "status" in after) return after;
  return { ...after, status } as Resource;
}

function withRevision(resource: Resource, revision: Revision): Resource {
  return withoutBookkeeping(withMetadata(resource, { resourceVersion: String(revision) }));
}

function withMetadata(resource: Resource, more: Partial<Metadata>): Resource {
  return { ...resource, metadata: { ...resource.metadata, ...more } };
}

function pathOf(resource: Resource): string {
  return resourcePath(resource.kind, resource.metadata.name, resource.metadata.namespace);
}

function virtualProfile(): ResourceOf<"Profile"> {
  return {
    kind: "Profile",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: DEFAULT_ALLOW_PROFILE },
    spec: { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] },
  };
}

function codeOf(error: unknown): string {
  return error instanceof MargayError ? error.code : "";
}
