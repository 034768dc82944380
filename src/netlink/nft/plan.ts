/**
 * From desired and known state to the messages of one transaction, in the order that the kernel
 * asks for: what is deleted first (rules, then the elements and sets that they used, then chains,
 * which rules and verdict maps point to), then chains, sets, elements and at last the rules.
 */
import type { NetlinkWriter } from "../writer.ts";
import { NftBatch } from "./batch.ts";
import type { NftFamily } from "./constants.ts";
import type { DesiredSet } from "./desired.ts";
import { mentionsSet, type RuleBytes } from "./rule.ts";
import { capacityFor } from "./sets.ts";
import type { NftChain } from "./types.ts";

export interface DesiredChain {
  readonly name: string;
  readonly hook: NftChain["hook"];
  readonly rules: readonly RuleBytes[];
}

export interface KnownChain {
  readonly hook: NftChain["hook"];
  readonly rules: readonly RuleBytes[];
  /** Of the rules in order; undefined after a large change of ours, since the kernel chose them. */
  handles: readonly number[] | undefined;
}

export interface KnownSet {
  /** Of the layout. */
  readonly signature: string;
  /** Declared size; 0: none. */
  readonly capacity: number;
}

/** What is known of the kernel, as of one generation. */
export interface KnownTable {
  exists: boolean;
  generation: number;
  readonly chains: Map<string, KnownChain>;
  readonly sets: Map<string, KnownSet>;
  objects: readonly { readonly name: string; readonly type: number }[];
}

export interface PlanInput {
  readonly family: NftFamily;
  readonly table: string;
  readonly writer: NetlinkWriter;
  readonly known: KnownTable;
  readonly chains: ReadonlyMap<string, DesiredChain>;
  readonly sets: ReadonlyMap<string, DesiredSet>;
  readonly dirtyChains: ReadonlySet<string>;
  readonly dirtySets: ReadonlySet<string>;
  /** Asks the kernel for the handles of a chain's rules; undefined if they are not as known. */
  readonly handlesOf: (chain: string, known: KnownChain) => readonly number[] | undefined;
}

/** How the rules of one chain come to be: the middle is replaced, both ends stay. */
interface ChainEdit {
  readonly chain: DesiredChain;
  readonly known: KnownChain | undefined;
  readonly keepHead: number;
  readonly keepTail: number;
  readonly handles: readonly number[];
  readonly recreate: boolean;
  /** Index in the batch of the first rule that is added. */
  firstAdded: number;
}

export interface Plan {
  readonly batch: NftBatch;
  /** Sets that the batch creates. */
  readonly sets: ReadonlyMap<string, KnownSet>;
  /** Chains whose rules it changes. */
  readonly edits: readonly ChainEdit[];
}

/** Yields where its user may pause; what it was given must then still be as it was. */
export function* planBatch(input: PlanInput): Generator<void, Plan> {
  const batch = new NftBatch(input.family, input.table, input.writer);
  const { known, sets, dirtySets } = input;
  const remade = [...dirtySets].filter((name) => {
    const set = sets.get(name);
    return set !== undefined && known.sets.has(name) && !canEdit(set, known);
  });
  const gone = [...dirtySets].filter((name) => !sets.has(name) && known.sets.has(name));
  const edits = planChains(input, remade);
  const removed = [...input.dirtyChains].filter(
    (name) => !input.chains.has(name) && known.chains.has(name),
  );
  // With a set made anew nothing may go ahead of the deletions.
  const early = remade.length === 0;

  if (!known.exists && input.chains.size + sets.size > 0) batch.addTable();
  for (const edit of edits) deleteRules(batch, edit);
  for (const name of removed) batch.deleteRule(name);
  for (const set of edited(input)) {
    yield* batch.deleteElements(set.spec.name, set.layout, set.deletions());
  }
  for (const name of [...gone, ...remade]) batch.deleteSet(name);
  for (const { name, type } of known.objects) batch.deleteObject(name, type);
  for (const name of removed) batch.deleteChain(name);
  for (const edit of edits) if (edit.recreate) batch.deleteChain(edit.chain.name);

  const created = new Map<string, KnownSet>();
  for (const edit of edits) createChain(batch, edit, early);
  for (const name of dirtySets) {
    const set = sets.get(name);
    if (set === undefined || canEdit(set, known)) continue;
    const capacity = capacityFor(set.layout, set.wanted.size);
    created.set(name, { signature: set.layout.signature, capacity });
    batch.addSet(set.spec, set.layout, capacity, early);
  }
  for (const name of dirtySets) {
    const set = sets.get(name);
    if (set === undefined) continue;
    const edit = canEdit(set, known);
    const additions = edit ? set.additions() : set.wanted;
    yield* batch.addElements(name, set.layout, additions, !edit && early);
    if (batch.takePause()) yield;
  }
  for (const edit of edits) {
    addRules(batch, edit, early);
    if (batch.takePause()) yield;
  }
  return { batch, sets: created, edits };
}

function canEdit(set: DesiredSet, known: KnownTable): boolean {
  const kernel = known.sets.get(set.spec.name);
  return (
    set.tracking &&
    kernel?.signature === set.layout.signature &&
    (kernel.capacity === 0 || set.wanted.size <= kernel.capacity)
  );
}

function* edited(input: PlanInput): Generator<DesiredSet> {
  for (const name of input.dirtySets) {
    const set = input.sets.get(name);
    if (set !== undefined && canEdit(set, input.known)) yield set;
  }
}

function planChains(input: PlanInput, remadeSets: readonly string[]): ChainEdit[] {
  const { chains, known, dirtyChains } = input;
  const names = new Set(dirtyChains);
  // A set cannot be deleted while a rule uses it, even if it comes back in the same transaction.
  const users = new Set<string>();
  for (const set of remadeSets) {
    for (const [name, { rules }] of known.chains) {
      if (rules.some((rule) => mentionsSet(rule, set))) users.add(name);
    }
  }
  for (const name of users) {
    names.add(name);
    const chain = known.chains.get(name);
    if (chain !== undefined) chain.handles = undefined;
  }
  const edits: ChainEdit[] = [];
  for (const name of names) {
    const chain = chains.get(name);
    if (chain !== undefined) edits.push(planChain(input, chain, users.has(name)));
  }
  return edits;
}

function planChain(input: PlanInput, chain: DesiredChain, whole: boolean): ChainEdit {
  const known = input.known.chains.get(chain.name);
  const nothingKept = { keepHead: 0, keepTail: 0, handles: [], recreate: false, firstAdded: 0 };
  const edit = { chain, known, ...nothingKept };
  if (known === undefined) return edit;
  if (!sameHook(known.hook, chain.hook)) return { ...edit, recreate: true };
  if (whole) return edit;
  const [keepHead, keepTail] = commonEnds(known.rules, chain.rules);
  if (keepHead + keepTail === 0) return edit;
  const deletes = known.rules.length > keepHead + keepTail;
  const inserts = chain.rules.length > keepHead + keepTail;
  // Appending needs no handles.
  if (!deletes && (!inserts || keepTail === 0)) return { ...edit, keepHead, keepTail };
  const handles = known.handles ?? input.handlesOf(chain.name, known);
  if (handles === undefined) return edit;
  return { ...edit, keepHead, keepTail, handles };
}

/** Lengths of the common prefix and of the common suffix after it. */
export function commonEnds<T>(a: readonly T[], b: readonly T[]): [head: number, tail: number] {
  const most = Math.min(a.length, b.length);
  let head = 0;
  while (head < most && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < most - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  return [head, tail];
}

function deleteRules(batch: NftBatch, edit: ChainEdit): void {
  const { known, keepHead, keepTail, chain } = edit;
  if (known === undefined || known.rules.length <= keepHead + keepTail) return;
  if (keepHead + keepTail === 0) {
    batch.deleteRule(chain.name);
    return;
  }
  for (const handle of edit.handles.slice(keepHead, known.rules.length - keepTail)) {
    batch.deleteRule(chain.name, handle);
  }
}

function createChain(batch: NftBatch, edit: ChainEdit, early: boolean): void {
  const { chain, known, recreate } = edit;
  if (known === undefined) batch.addChain(chain, early && chain.hook === undefined);
  else if (recreate || known.hook?.policy !== chain.hook?.policy) batch.addChain(chain, false);
}

function addRules(batch: NftBatch, edit: ChainEdit, early: boolean): void {
  const { chain, known, keepHead, keepTail, handles } = edit;
  const fresh = early && known === undefined && chain.hook === undefined;
  const before = keepTail === 0 ? undefined : handles[handles.length - keepTail];
  edit.firstAdded = batch.items.length;
  for (const rule of chain.rules.slice(keepHead, chain.rules.length - keepTail)) {
    batch.addRule(chain.name, rule, fresh, before);
  }
}

/** The handles of the chain's rules once the batch is in force; undefined: not all are known. */
export function handlesAfter(edit: ChainEdit, batch: NftBatch): readonly number[] | undefined {
  const { chain, known, keepHead, keepTail, firstAdded } = edit;
  const before = keepHead + keepTail === 0 ? [] : known?.handles;
  if (before === undefined) return undefined;
  const handles = before.slice(0, keepHead);
  for (let n = 0; n < chain.rules.length - keepHead - keepTail; n++) {
    const handle = batch.handles.get(firstAdded + n);
    if (handle === undefined) return undefined;
    handles.push(handle);
  }
  return [...handles, ...before.slice(before.length - keepTail)];
}

/** The policy may differ: it can be changed in place. */
export function sameHook(a: NftChain["hook"], b: NftChain["hook"]): boolean {
  return a?.type === b?.type && a?.hook === b?.hook && a?.priority === b?.priority;
}
